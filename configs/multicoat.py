"""Multicoated supermasks (Okoshi et al., 2022): the variant is the network.

  python experiments/main.py --config=configs/multicoat.py:fcn

Source: nested top-k masks, added; the training recipe is edge-popup's.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network, score_init


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("multicoat", network)
    config.method = {
        "name": "multicoat",
        "densities": (0.5, 0.25, 0.1),
        "counting": "nearest",
        "score_init": score_init("uniform", "he", 6**-0.5),
    }
    return config
