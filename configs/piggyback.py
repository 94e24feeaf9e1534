"""Masks by a constant threshold, as in supermasks in superposition. The variant names the network.

  python experiments/main.py --config=configs/piggyback.py:fcn

Source: the released code of Wortsman et al., 2020, on permuted MNIST: threshold 0, scores
U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), signed constants, RMSprop at 1e-4, constant, no decay. Its
network has one more hidden layer of 300; there an epoch gives 92 % on each task.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network, score_init


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("piggyback", network)
    config.method = {
        "name": "piggyback",
        "cut": 0.0,
        "score_init": score_init("uniform", "he", 6**-0.5),
    }
    config.optimizer = {"name": "rmsprop", "learning_rate": 1e-4, "decay": 0.99}
    config.schedule = {"name": "constant"}
    return config
