"""Hard concrete gates (Louizos et al., 2018) on frozen weights. The variant names the network.

  python experiments/main.py --config=configs/hard_concrete.py:fcn

The paper trains the weights and has a gate for each input of a layer, so its hyperparameters say
little here: Adam, since the gradient of a score carries the small weight, and no decay.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network, score_init


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("hard_concrete", network)
    config.method = {
        "name": "hard_concrete",
        "penalty": 3.0,
        "evaluation": "hard",
        "density": 0.0,
        "anneal": 0.5,
        "start_density": 1.0,
        "score_init": score_init("normal", "unit", 0.01),
    }
    config.optimizer = {"name": "adam", "learning_rate": 0.05}
    return config
