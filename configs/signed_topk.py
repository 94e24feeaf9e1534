"""Signed top-k: the signed supermask at a density that you set. The variant names the network.

  python experiments/main.py --config=configs/signed_topk.py:fcn --config.method.density=0.02

There is no source: the method is this project's own. It takes weights, scores and optimiser of the
signed supermask; learning rate and decay fall together by a cosine. On ImageNet, as in
`:resnet50-imagenet`, training and density are edge-popup's: nothing was chosen there.
"""

from ml_collections import ConfigDict

from supermask_jax.config import IMAGENET, RESNETS, relu_network, score_init, sgdw, weight_init


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("signed_topk", network)
    config.model.activation = "elu"
    if network not in (*RESNETS, *IMAGENET):  # As the signed supermask's.
        config.data.preprocess, config.data.augment = "standardize", "none"
    config.weight_init = weight_init(
        "signed_constant", "elus_sqrt6" if network == "fcn" else "elus_sqrt3"
    )
    config.method = {
        "name": "signed_topk",
        "density": 0.05,
        "scope": "global",
        "start_density": 1.0,
        "anneal": 0.5,
        "counting": "nearest",
        "score_init": score_init("uniform", "xavier"),
    }
    if network in IMAGENET:
        config.method.density = 0.3
        return config
    config.optimizer = sgdw(0.05, 5e-4)
    config.schedule = {"name": "cosine", "per_epoch": False}
    return config
