"""ProbMask (Zhou et al., 2021) on frozen weights. The variant names the network.

  python experiments/main.py --config=configs/probmask.py:fcn --config.method.density=0.05

Source: the released code: Adam 6e-3, cosine, no decay, batches of 256, 300 epochs; the budget is
all weights for 16 % of training, and the density from 60 % on. There the weights train too, and so
they do for 20 epochs more under the final mask: its accuracies say little about frozen ones.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("probmask", network)
    config.method = {
        "name": "probmask",
        "density": 0.1,
        "start": 0.16,
        "anneal": 0.6,
        "evaluation": "hard",
    }
    config.optimizer = {"name": "adam", "learning_rate": 6e-3}
    return config
