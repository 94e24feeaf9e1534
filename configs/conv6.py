"""Conv6 (2,261,184 weights) on CIFAR-10.

  python experiments/main.py --config=configs/conv6.py --config.protocol=paper

Source: READMEs of Koster et al., 2022: 79.17 % [78.1, 80.5] at 2.36 % [1.9, 2.6] remaining
weights; dense baseline 75.91 % [75.4, 76.4].

Variants (`--config=configs/conv6.py:released`): published, the default; released, baseline,
extreme, best. `supermask_jax.config.conv_on_cifar10` says what each one is.
"""

from ml_collections import ConfigDict

from supermask_jax.config import conv_on_cifar10


def get_config(variant: str = "published") -> ConfigDict:
    return conv_on_cifar10(
        "conv6",
        variant,
        learning_rate=0.05,
        baseline_learning_rate=0.01,
        best_epochs=25,
        best_density=0.0236,
    )
