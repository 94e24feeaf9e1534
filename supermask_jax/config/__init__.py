"""Configs: what a run is made of, read from files and changed by flags."""

from supermask_jax.config.defaults import (
    conv_on_cifar10,
    default_config,
    dense,
    exponential,
    lottery,
    network,
    plateau,
    score_init,
    sgd,
    sgdw,
    signed,
    use_variant,
    weight_init,
)
from supermask_jax.config.relu import CONVS, IMAGENET, RESNETS, relu_network

__all__ = [
    "CONVS",
    "IMAGENET",
    "RESNETS",
    "conv_on_cifar10",
    "default_config",
    "dense",
    "exponential",
    "lottery",
    "network",
    "plateau",
    "relu_network",
    "score_init",
    "sgd",
    "sgdw",
    "signed",
    "use_variant",
    "weight_init",
]
