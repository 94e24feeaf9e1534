"""Biprop, multi-prize tickets (Diffenderfer and Kailkhura, 2021). The variant names the network.

  python experiments/main.py --config=configs/biprop.py:conv8 --config.method.density=0.1

Source: the released code's small-scale configs (MPT-1/32), which equal edge-popup's, data included.
At density 0.1 a README of Koster et al., 2022, quotes 70 % (Conv2), 79 % (Conv4), 82 % (Conv6),
85 % (Conv8); that of the released code gives 94.66 % for ResNet18 at density 0.2 (`:resnet18`).
For global thresholds with the annealed schedule, give
`--config.method.scope=global --config.method.anneal=0.1`. The variants
`resnet50-imagenet` and so on are edge-popup's, with the rate, 0.128, and the density, 0.2, that the
released code has for `wide_resnet50-imagenet`. The variants `fcn-binary` ...
`conv8-binary` have binary activations (MPT-1/1), batch norm and Adam at 0.1.
"""

from ml_collections import ConfigDict

from supermask_jax.config import IMAGENET, relu_network, score_init


def get_config(network: str = "fcn") -> ConfigDict:
    binary = network.endswith("-binary")
    config = relu_network("biprop", network.removesuffix("-binary"))
    if binary:
        config.name += "-binary"
        config.model.activation, config.model.norm = "binary", "all"
        config.optimizer = {"name": "adam", "learning_rate": 0.1}
    config.weight_init.distribution = "normal"
    if network in IMAGENET:
        config.optimizer.learning_rate = 0.128
    config.method = {
        "name": "biprop",
        "density": 0.2 if network in IMAGENET else 0.1,
        "scope": "layer",
        "start_density": 0.5,
        "anneal": 0.0,
        "counting": "nearest",
        "score_init": score_init("uniform", "he", 6**-0.5),
    }
    return config
