"""ResNet110 of Koster et al., 2022, on CIFAR-100: 1,668,272 masked, 1,705,904 dense weights.

  python experiments/main.py --config=configs/resnet110.py --config.protocol=paper

Source: README of Koster et al., 2022: 46.42 % at 20.64 % remaining weights; dense baseline 62.70 %,
of another network: the masked one halves the resolution twice more. Settings of the originals' runs
on CIFAR-100, kept in the history of the released code.

Variants (`--config=configs/resnet110.py:baseline`):
  published  The likely source of the row: threshold 0.85 of the layer's largest score, weights
             +-sqrt(2.6 / fan_in), no batch norm but constants. The default.
  stem_norm  Batch norm with scale and bias after the stem; threshold 0.75, +-sqrt(3 / fan_in).
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
    config.name = "resnet110"
    masked = "koster_resnet110_masked"
    return use_variant(
        config,
        variant,
        {
            "published": {
                "model": network(masked, norm="all", norm_frozen=True),
                "weight_init": weight_init("signed_constant", "he", 1.3**0.5),
                "method": signed("fraction_of_max", fraction=0.85, scores="elu"),
                **koster_on_cifar100(110, 0.08, weight_decay=1e-5),
            },
            **with_norms(
                masked,
                weight_init=weight_init("signed_constant", "elus_sqrt3"),
                method=signed("fraction_of_max", fraction=0.75, scores="elu"),
                **koster_on_cifar100(120, 0.1),
            ),
            "baseline": {
                "model": network("koster_resnet110", norm="all", norm_affine=True),
                "weight_init": weight_init("uniform", "elu"),
                "method": dense(),
                **koster_on_cifar100(100, 0.15, patience=10),
            },
        },
    )
