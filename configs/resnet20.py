"""ResNet20 of Koster et al., 2022 (248,624 weights at width 1), on CIFAR-10.

  python experiments/main.py --config=configs/resnet20.py --config.protocol=paper
  python experiments/main.py --config=configs/resnet20.py --config.model.width=2

Not the standard ResNet20, which is in configs/resnet_he.py (`models.KosterResNet` says how it
differs). Widths in the paper: 1, 1.5, 2, 2.5, 3, 3.5.

Source: README of Koster et al., 2022, means of 50 runs, accuracy at remaining weights:
  width 1    81.68 % at 21.13 %    dense baseline 84.91 %
  width 2    84.42 % at  7.69 %    dense baseline 86.80 %
  width 3    84.89 % at  4.06 %    dense baseline 87.32 %

Variants (`--config=configs/resnet20.py:baseline`):
  published  The released code: threshold 0.75 of the layer's largest score, batch norm with scale
             and bias after the stem, constants in its place elsewhere, here left out (0.9995).
             Evaluation uses running statistics; theirs used those of the test batch. The default.
  no_norm    The same without the batch norm of the stem: constants everywhere.
  baseline   Dense, every batch norm trained. At width 3.5 the originals train 110 epochs.
"""

from ml_collections import ConfigDict

from supermask_jax.config import (
    default_config,
    dense,
    network,
    plateau,
    sgdw,
    signed,
    use_variant,
    weight_init,
)


def get_config(variant: str = "published") -> ConfigDict:
    config = default_config()
    config.name = "resnet20"
    config.data.name = "cifar10"
    config.optimizer = sgdw(0.3, 3e-4)
    config.schedule = plateau(15, 5, 0.2)
    name = "koster_resnet20"
    masked = {
        "epochs": 110,
        "weight_init": weight_init("signed_constant", "elus_sqrt3"),
        "method": signed("fraction_of_max", fraction=0.75),
    }
    return use_variant(
        config,
        variant,
        {
            "published": {"model": network(name, norm="stem", norm_affine=True), **masked},
            "no_norm": {"model": network(name, norm="all", norm_frozen=True), **masked},
            "baseline": {
                "model": network(name, norm="all", norm_affine=True),
                "epochs": 80,
                "weight_init": weight_init("uniform", "elu"),
                "method": dense(),
            },
        },
    )
