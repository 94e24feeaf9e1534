"""Edge-popup (Ramanujan et al., 2020). The variant names the network.

  python experiments/main.py --config=configs/edge_popup.py:fcn --config.method.density=0.3

Source: the released code's small-scale configs: SGD 0.1, coupled decay 1e-4, cosine by epoch, 100
epochs, signed Kaiming constants; images by the data set's mean and deviation, those of CIFAR-10
cropped and flipped. At density 0.1 a README of Koster et al., 2022, quotes 65 % (Conv2), 74 %
(Conv4), 77 % (Conv6), 70 % (Conv8). `:resnet18` is their residual network on CIFAR-10. Scaled fans:
`--config.weight_init.gain=G`, where G is 1/sqrt(density) in the paper and 1/sqrt(1 - density) in
its code (`core.initializers.scaled_fan_gain`). `:resnet50-imagenet`, `:resnet101-imagenet` and
`:wide_resnet50-imagenet` are those of its large-scale configs, at density 0.3 here;
`:resnet18-imagenet` likewise. They read the folder `imagenet`, or `--config.data.name=folder:PATH`.
"""

from ml_collections import ConfigDict

from supermask_jax.config import IMAGENET, relu_network, score_init


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("edge_popup", network)
    config.method = {
        "name": "edge_popup",
        "density": 0.3 if network in IMAGENET else 0.5,
        "by_value": False,
        "scope": "layer",
        "start_density": 1.0,
        "anneal": 0.0,
        "counting": "nearest",
        "score_init": score_init("uniform", "he", 6**-0.5),
    }
    return config
