"""ResNet56 of Koster et al., 2022 (834,992 weights), on CIFAR-100.

  python experiments/main.py --config=configs/resnet56.py --config.protocol=paper

Source: README of Koster et al., 2022: 60.01 % at 29.39 % remaining weights; dense baseline 68.04 %.
Settings of the originals' runs on CIFAR-100, kept in the history of the released code.

Variants (`--config=configs/resnet56.py:baseline`):
  published  The likely source of the row: threshold 0.75 of the layer's largest score, scores of
             ELU scale, no batch norm but constants. The default.
  stem_norm  Batch norm with scale and bias after the stem; Xavier scores, a smaller learning rate.
  all_norm   As stem_norm, after every layer.
  baseline   Dense, every batch norm trained.
"""

from _koster import koster_on_cifar100, with_norms
from ml_collections import ConfigDict

from supermask_jax.config import (
    default_config,
    dense,
    network,
    signed,
    use_variant,
    weight_init,
)


def get_config(variant: str = "published") -> ConfigDict:
    config = default_config()
    config.name = "resnet56"
    name = "koster_resnet56"
    config.weight_init = weight_init("signed_constant", "elus_sqrt3")
    return use_variant(
        config,
        variant,
        {
            "published": {
                "model": network(name, norm="all", norm_frozen=True),
                "method": signed("fraction_of_max", fraction=0.75, scores="elu"),
                **koster_on_cifar100(110, 0.3),
            },
            **with_norms(
                name,
                method=signed("fraction_of_max", fraction=0.75),
                **koster_on_cifar100(120, 0.25),
            ),
            "baseline": {
                "model": network(name, norm="all", norm_affine=True),
                "weight_init": weight_init("uniform", "elu"),
                "method": dense(),
                **koster_on_cifar100(90, 0.15, patience=10),
            },
        },
    )
