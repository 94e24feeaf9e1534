"""Continuous sparsification (Savarese et al., 2020), weights frozen. The variant names the network.

  python experiments/main.py --config=configs/continuous_sparsification.py:fcn

Source: the released code's optimiser for scores: SGD 0.1 with Nesterov momentum and no decay; its
steps of the rate are a cosine here. The code trains weights and scores; on frozen weights the
penalty alone moves gates from the middle, and is what to choose: more of it keeps fewer weights.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network, sgd


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("continuous_sparsification", network)
    config.method = {
        "name": "continuous_sparsification",
        "penalty": 8.0,
        "final_temperature": 200.0,
        "start_score": 0.0,
        "evaluation": "hard",
        "density": 0.0,
        "anneal": 0.5,
        "start_density": 1.0,
    }
    config.optimizer = sgd(0.1, 0.0)
    config.optimizer.nesterov = True
    return config
