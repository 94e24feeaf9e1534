"""VGG19 (20,218,048 weights) on CIFAR-10, without batch norm.

  python experiments/main.py --config=configs/vgg19.py

Source: early code of Koster et al., 2022; no result is published. The ELU falls to
-1.673, as theirs does.

Variants (`--config=configs/vgg19.py:baseline`): early, the default; extreme, baseline.
`vgg_on_cifar10` in `_koster.py` says what each one is.
"""

from _koster import vgg_on_cifar10
from ml_collections import ConfigDict


def get_config(variant: str = "early") -> ConfigDict:
    return vgg_on_cifar10("vgg19", variant, activation="elu_1.673")
