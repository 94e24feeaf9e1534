"""The papers' settings on ReLU networks, which the configs of most methods begin with."""

from __future__ import annotations

from ml_collections import ConfigDict

from supermask_jax.config.defaults import default_config, sgd, weight_init
from supermask_jax.errors import unknown_name

CONVS = ("conv2", "conv4", "conv6", "conv8")
RESNETS = ("resnet18", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
# Variants on ImageNet, and their networks.
IMAGENET = {
    "resnet18-imagenet": "resnet18_imagenet",
    "resnet50-imagenet": "resnet50",
    "resnet101-imagenet": "resnet101",
    "wide_resnet50-imagenet": "wide_resnet50",
}


def relu_network(method: str, network: str) -> ConfigDict:
    """Returns the defaults of the papers on ReLU networks: He constants, SGD, a cosine schedule.

    Args:
      method: names the run.
      network: fcn on MNIST; conv2, conv4, conv6, conv8 or a standard resnet18, resnet20, resnet32,
        resnet44, resnet56, resnet110 on CIFAR-10, whose images are cropped and flipped; or one of
        `IMAGENET`, see `use_imagenet`. The residual ones have batch norm without scale and bias.

    Raises:
      UserError: there is no such network.
    """
    networks = {"fcn": "mnist"} | dict.fromkeys(CONVS + RESNETS, "cifar10")
    networks |= dict.fromkeys(IMAGENET, "folder:imagenet")
    if network not in networks:
        raise unknown_name("variant", network, networks)
    config = default_config()
    config.name = f"{method}-{network}"
    config.model.name, config.model.activation = IMAGENET.get(network, network), "relu"
    config.data.name, config.data.preprocess = networks[network], "mean_std"
    config.weight_init = weight_init("signed_constant", "he")
    config.optimizer = sgd(0.1, 1e-4)
    config.schedule = ConfigDict({"name": "cosine", "per_epoch": True})
    if config.data.name == "cifar10":
        config.data.augment = "crop_flip"
    if network in RESNETS:
        config.model.norm = "all"
        config.batch_size = 256
        config.optimizer.weight_decay = 5e-4
    if network in IMAGENET:
        use_imagenet(config)
    return config


def use_imagenet(config: ConfigDict) -> None:
    """Sets data and training of edge-popup's released code on ImageNet.

    100 epochs of batches of 256; rate 0.256 with momentum 0.875 and decay 2 ** -15, after 5 epochs
    of warm-up by a cosine that is held within epochs; labels smoothed by 0.1; crops of random size,
    and flips. The data are a folder, ``imagenet`` unless `config.data.name` says otherwise, of
    224 x 224 pixels.
    """
    config.data.image_size, config.data.augment = 224, "resized_crop_flip"
    config.model.norm = "all"
    config.epochs, config.batch_size, config.eval_batch_size = 100, 256, 256
    config.label_smoothing = 0.1
    config.optimizer = sgd(0.256, 2.0**-15)
    config.optimizer.momentum = 0.875
    config.schedule = ConfigDict({"name": "cosine", "per_epoch": True, "warmup": 5.0})
