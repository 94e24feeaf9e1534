"""What the config files of residual networks and VGGs of Koster et al., 2022, share."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from supermask_jax.config import (
    default_config,
    dense,
    exponential,
    network,
    plateau,
    sgdw,
    use_variant,
    weight_init,
)


def koster_on_cifar100(
    epochs: int, learning_rate: float, patience: int = 15, weight_decay: float = 1e-4
) -> dict[str, Any]:
    """Entries of the originals' runs on CIFAR-100, for `use_variant`; images cropped and flipped.

    An epoch of theirs is two passes over the images: epochs, patience, cooldown and start of the
    plateau schedule are twice what they say.

    Args:
      epochs: theirs.
      learning_rate: at the start.
      patience: in epochs of theirs.
      weight_decay: at the start, not multiplied by the learning rate.
    """
    schedule = plateau(2 * patience, 7, 0.1)
    schedule.cooldown, schedule.start = 20, 20
    data = default_config().data
    data.name, data.augment, data.pad = "cifar100", "crop_flip", "mean"
    return {
        "data": data,
        "epochs": 2 * epochs,
        "optimizer": sgdw(learning_rate, weight_decay),
        "schedule": schedule,
    }


def with_norms(model: str, **entries: Any) -> dict[str, dict[str, Any]]:
    """Returns the variants of a residual network with trained batch norm, for `use_variant`."""
    return {
        f"{where}_norm": {"model": network(model, norm=where, norm_affine=True), **entries}
        for where in ("stem", "all")
    }


def vgg_on_cifar10(name: str, variant: str, activation: str = "elu") -> ConfigDict:
    """Returns a variant of VGG16 or VGG19 on CIFAR-10 (Koster et al., 2022, early code).

    Args:
      name: the network.
      variant: "early", the settings of that code: absolute threshold 0.01, 0.96 staircase;
        "extreme", those for fewest weights: a small learning rate and decay; "baseline", dense, of
        which there is no config: this project's own, as for Conv8.
      activation: a name in `models.layers.ACTIVATIONS`.

    Raises:
      UserError: there is no such variant.
    """
    config = default_config()
    config.name = name
    config.model = network(name, activation=activation)
    config.data.name = "cifar10"
    # The code of that time assumed 390 steps an epoch; CIFAR-10 has 391.
    config.schedule = exponential(0.96, 3900 / 391, staircase=True)
    return use_variant(
        config,
        variant,
        {
            "early": {"optimizer": sgdw(0.05, 5e-4)},
            "extreme": {"optimizer": sgdw(0.008, 3e-4)},
            "baseline": {
                "epochs": 50,
                "weight_init": weight_init("uniform", "elu"),
                "method": dense(),
                "optimizer": sgdw(0.01, 7e-4),
                "schedule": exponential(0.9, 5.0),
            },
        },
    )
