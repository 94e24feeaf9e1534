"""Learned (Bernoulli) supermasks (Zhou et al., 2019). The variant names the network.

  python experiments/main.py --config=configs/bernoulli.py:fcn

Source: Zhou et al., sec. 5: FCN on MNIST 98.0 % with dynamic weight rescaling and signed constants,
Conv2 66.0 %, Conv4 72.5 %, Conv6 76.5 %; 11 to 93 % of the weights remain. The original trains for
2,000 epochs of batches of 250 at a constant rate of 100 (Conv4 50, Conv6 20) on images / 255; here
200 epochs.

The variants `fcn-gumbel` ... estimate the gradient by a Gumbel-sigmoid (Csordas et al., 2021).
"""

from ml_collections import ConfigDict

from supermask_jax.config import RESNETS, relu_network, sgd, weight_init


def get_config(network: str = "fcn") -> ConfigDict:
    gumbel, network = network.endswith("-gumbel"), network.removesuffix("-gumbel")
    config = relu_network("bernoulli", network)
    config.epochs = 200
    config.batch_size = 250
    config.data.preprocess = "unit"
    if network not in RESNETS:
        config.data.augment = "none"
    config.weight_init = weight_init("signed_constant", "xavier")
    config.method = {
        "name": "bernoulli",
        "start_density": 0.5,
        "rescale": True,
        "variant": "sampled",
        "evaluation": "sampled",
        "eval_samples": 10,
        "density": 0.0,
        "anneal": 0.5,
    }
    if gumbel:
        config.name += "-gumbel"
        config.method.update(estimator="gumbel", tau=1.0)
    rates = {"conv4": 50.0, "conv6": 20.0}
    config.optimizer = sgd(rates.get(network, 100.0), 0.0)
    config.schedule = {"name": "constant"}
    return config
