"""Gaussian gates (Tsayag and Lindenbaum, 2026) on frozen weights. The variant names the network.

  python experiments/main.py --config=configs/gaussian_gates.py:fcn

Source: the abstract; learning rate, penalty and epochs of the paper are not known to us. The noise
of 0.5 and the start at 1/2 are those of stochastic gates (Yamada et al., 2020); Adam, since the
gradient of a score carries the small weight.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network, score_init


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("gaussian_gates", network)
    config.method = {
        "name": "gaussian_gates",
        "penalty": 1.0,
        "sigma": 0.5,
        "evaluation": "hard",
        "density": 0.0,
        "anneal": 0.5,
        "start_density": 1.0,
        "score_init": score_init("constant", "unit", 0.5),
    }
    config.optimizer = {"name": "adam", "learning_rate": 0.01}
    return config
