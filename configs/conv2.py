"""Conv2 (4,300,992 weights) on CIFAR-10.

  python experiments/main.py --config=configs/conv2.py --config.protocol=paper

Source: READMEs of Koster et al., 2022: 68.37 % [67.7, 69.0] at 0.60 % [0.58, 0.62] remaining
weights; dense baseline 68.79 % [68.4, 69.2].

Variants (`--config=configs/conv2.py:released`): published, the default; released, baseline,
extreme, best. `supermask_jax.config.conv_on_cifar10` says what each one is.
"""

from ml_collections import ConfigDict

from supermask_jax.config import conv_on_cifar10


def get_config(variant: str = "published") -> ConfigDict:
    return conv_on_cifar10(
        "conv2",
        variant,
        learning_rate=0.04,
        baseline_learning_rate=0.008,
        best_epochs=10,
        best_density=0.006,
        extreme_epochs=100,
        extreme_every=5.0,
    )
