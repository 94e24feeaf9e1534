"""A signed supermask of a small FCN on the embedded digits (8 x 8 pixels): under a minute on a CPU.

python experiments/main.py --config=configs/quickstart.py
"""

from ml_collections import ConfigDict

from supermask_jax.config import default_config, exponential, sgdw, signed, weight_init


def get_config() -> ConfigDict:
    config = default_config()
    config.name = "quickstart"
    config.epochs = 60
    config.batch_size = 32
    config.data.name = "digits"
    config.weight_init = weight_init("signed_constant", "elus_sqrt6")
    config.method = signed("absolute", value=0.01)
    config.optimizer = sgdw(0.05, 2e-3)
    config.schedule = exponential(0.9, 10.0)
    return config
