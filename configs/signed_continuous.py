"""Signed continuous sparsification, weights frozen. The variant names the network.

  python experiments/main.py --config=configs/signed_continuous.py:fcn

There is no source: the method is this project's own. Optimiser and schedule are those of
`continuous_sparsification.py`; scores are ten times as far from the cut's other side, and the rate
is a hundred times as large. More penalty keeps fewer weights.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network, sgd


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("signed_continuous", network)
    config.method = {
        "name": "signed_continuous",
        "penalty": 16.0,
        "final_temperature": 50.0,
        "evaluation": "hard",
        "density": 0.0,
        "anneal": 0.5,
        "start_density": 1.0,
    }
    config.optimizer = sgd(10.0, 0.0)
    config.optimizer.nesterov = True
    return config
