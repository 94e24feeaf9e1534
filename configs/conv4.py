"""Conv4 (2,425,024 weights) on CIFAR-10.

  python experiments/main.py --config=configs/conv4.py --config.protocol=paper

Source: READMEs of Koster et al., 2022: 77.40 % [76.7, 78.3] at 2.91 % [2.9, 3.0] remaining
weights; dense baseline 74.50 %.

Variants (`--config=configs/conv4.py:released`): published, the default; released, baseline,
extreme, best. `supermask_jax.config.conv_on_cifar10` says what each one is.
"""

from ml_collections import ConfigDict

from supermask_jax.config import conv_on_cifar10


def get_config(variant: str = "published") -> ConfigDict:
    return conv_on_cifar10(
        "conv4",
        variant,
        learning_rate=0.05,
        baseline_learning_rate=0.008,
        best_epochs=20,
        best_density=0.0291,
        extreme_epochs=100,
    )
