"""Conv2 (4,300,992 weights) on CIFAR-10.

  python experiments/main.py --config=configs/conv2.py --config.protocol=paper

Source: Koster et al., 2022, table 1: 68.37 % [67.7, 69.0] at 0.60 % [0.58, 0.62] remaining
weights; dense baseline 68.79 % [68.4, 69.2].

Variants (`--config=configs/conv2.py:released`):
  published  The best candidate for the row: absolute threshold 0.01, weights +-sqrt(3 / fan_in).
             The default.
  released   The released code: threshold 0.4 of the layer's largest score, same weights.
  baseline   Dense.
  extreme    The "prune to the extreme" settings: threshold 0.6, small learning rate.
"""

from ml_collections import ConfigDict

from supermask_jax.config import conv_on_cifar10


def get_config(variant: str = "published") -> ConfigDict:
    return conv_on_cifar10(
        "conv2",
        variant,
        learning_rate=0.04,
        baseline_learning_rate=0.008,
        extreme_epochs=100,
        extreme_every=5.0,
    )
