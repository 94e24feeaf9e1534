"""Signed gates: a signed supermask that is relaxed while it learns. The variant names the network.

  python experiments/main.py --config=configs/signed_gates.py:fcn

There is no source: the method is this project's own.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network, score_init


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("signed_gates", network)
    config.method = {
        "name": "signed_gates",
        "penalty": 2.0,
        "sigma": 0.5,
        "cut": 0.5,
        "evaluation": "hard",
        "density": 0.0,
        "anneal": 0.5,
        "start_density": 1.0,
        "score_init": score_init("uniform", "unit", 3**-0.5),
    }
    config.optimizer = {"name": "adam", "learning_rate": 0.01}
    return config
