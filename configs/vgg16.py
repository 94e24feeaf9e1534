"""VGG16 (14,909,632 weights) on CIFAR-10, without batch norm.

  python experiments/main.py --config=configs/vgg16.py

Source: early code of Koster et al., 2022; no result is published.

Variants (`--config=configs/vgg16.py:baseline`): early, the default; extreme, baseline.
`vgg_on_cifar10` in `_koster.py` says what each one is.
"""

from _koster import vgg_on_cifar10
from ml_collections import ConfigDict


def get_config(variant: str = "early") -> ConfigDict:
    return vgg_on_cifar10("vgg16", variant)
