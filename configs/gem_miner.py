"""Gem-miner (Sreenivasan et al., 2022), before its fine-tuning. The variant names the network.

  python experiments/main.py --config=configs/gem_miner.py:fcn --config.method.density=0.05

The paper takes SGD at 0.1 for 150 epochs. Scores span (0, 1) and their gradient carries the small
weight, so that they hardly move in a short training: here it is Adam, a first guess.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("gem_miner", network)
    config.method = {
        "name": "gem_miner",
        "density": 0.1,
        "penalty": 8.0,
        "rounds": 29,
        "anneal": 29 / 30,
    }
    config.optimizer = {"name": "adam", "learning_rate": 0.01}
    return config
