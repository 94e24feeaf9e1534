"""Standard residual networks of He et al., 2016, on CIFAR-10, dense. The variant names it.

  python experiments/main.py --config=configs/resnet_he.py:resnet20 --config.protocol=paper

For supermasks of these networks, with batch norm without scale and bias, take
edge_popup.py:resnet20 and so on; biprop, signed_topk and multicoat have the same variants.

Source: He et al., table 6, test accuracy: resnet20 91.25 %, resnet32 92.49 %, resnet44 92.83 %,
resnet56 93.03 %, resnet110 93.39 % (mean of 5; the best 93.57 %). They train for 64,000
steps, about 164 epochs, and cut the learning rate by ten at 32,000 and 48,000; here it falls by a
cosine. Shortcuts are padded with zeros (option A) as theirs; --config.model.shortcut=projection
gives 1 x 1 convolutions (option B). `resnet18` is the wide one of edge-popup and biprop.
"""

from ml_collections import ConfigDict

from supermask_jax.config import RESNETS, dense, relu_network, sgd, weight_init
from supermask_jax.errors import unknown_name


def get_config(network: str = "resnet20") -> ConfigDict:
    if network not in RESNETS:
        raise unknown_name("variant", network, RESNETS)
    config = relu_network("he", network)
    config.model.norm, config.model.norm_affine = "all", True
    config.model.shortcut = "projection" if network == "resnet18" else "padded"
    config.epochs = 164
    config.batch_size = 128
    config.weight_init = weight_init("normal", "he")
    config.method = dense()
    config.optimizer = sgd(0.1, 1e-4)
    return config
