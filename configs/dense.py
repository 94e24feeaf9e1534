"""Dense ReLU networks, the baseline of the methods on ReLU networks. The variant names the network.

  python experiments/main.py --config=configs/dense.py:fcn

Source: the dense baselines of edge-popup's released code, on its data: SGD with a cosine schedule,
coupled decay 1e-4, learning rate 0.1 (FCN) or 0.01 (Conv2 to Conv8). The residual networks take the
rate, decay and batch size of their masked twins.
"""

from ml_collections import ConfigDict

from supermask_jax.config import dense, relu_network, weight_init


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("dense", network)
    config.weight_init = weight_init("normal", "he")
    config.method = dense()
    if network.startswith("conv"):
        config.optimizer.learning_rate = 0.01
    return config
