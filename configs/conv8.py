"""Conv8 (5,275,840 weights) on CIFAR-10.

  python experiments/main.py --config=configs/conv8.py --config.protocol=paper

Source: READMEs of Koster et al., 2022: 80.91 % [79.9, 81.7] at 1.17 % [1.1, 1.2] remaining
weights; dense baseline 72.24 % [71.4, 73.0].

Variants (`--config=configs/conv8.py:released`): published, the default; released, baseline,
extreme, best. `supermask_jax.config.conv_on_cifar10` says what each one is.
"""

from ml_collections import ConfigDict

from supermask_jax.config import conv_on_cifar10


def get_config(variant: str = "published") -> ConfigDict:
    return conv_on_cifar10(
        "conv8",
        variant,
        learning_rate=0.05,
        baseline_learning_rate=0.01,
        best_epochs=30,
        best_density=0.0117,
    )
