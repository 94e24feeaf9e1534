"""Plain Flax networks; they know nothing of masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from supermask_jax.errors import UserError, make, unknown_name
from supermask_jax.models.conv import Conv2 as Conv2
from supermask_jax.models.conv import Conv4 as Conv4
from supermask_jax.models.conv import Conv6 as Conv6
from supermask_jax.models.conv import Conv8 as Conv8
from supermask_jax.models.conv import ConvNet as ConvNet
from supermask_jax.models.convolution import CONVOLUTIONS as CONVOLUTIONS
from supermask_jax.models.fcn import FCN as FCN
from supermask_jax.models.imagenet import ImageNetResNet as ImageNetResNet
from supermask_jax.models.imagenet import ResNet18ImageNet as ResNet18ImageNet
from supermask_jax.models.imagenet import ResNet50 as ResNet50
from supermask_jax.models.imagenet import ResNet101 as ResNet101
from supermask_jax.models.imagenet import WideResNet50 as WideResNet50
from supermask_jax.models.layers import ACTIVATIONS as ACTIVATIONS
from supermask_jax.models.layers import NORMS as NORMS
from supermask_jax.models.layers import Network as Network
from supermask_jax.models.resnet import KosterResNet as KosterResNet
from supermask_jax.models.resnet import KosterResNet20 as KosterResNet20
from supermask_jax.models.resnet import KosterResNet56 as KosterResNet56
from supermask_jax.models.resnet import KosterResNet110 as KosterResNet110
from supermask_jax.models.resnet import KosterResNet110Masked as KosterResNet110Masked
from supermask_jax.models.resnet import ResNet as ResNet
from supermask_jax.models.resnet import ResNet18 as ResNet18
from supermask_jax.models.resnet import cifar_resnet as cifar_resnet
from supermask_jax.models.vgg import VGG16 as VGG16
from supermask_jax.models.vgg import VGG19 as VGG19

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fcn": FCN,
    "conv2": Conv2,
    "conv4": Conv4,
    "conv6": Conv6,
    "conv8": Conv8,
    "vgg16": VGG16,
    "vgg19": VGG19,
    "resnet18": ResNet18,
    "resnet20": cifar_resnet(20),
    "resnet32": cifar_resnet(32),
    "resnet44": cifar_resnet(44),
    "resnet56": cifar_resnet(56),
    "resnet110": cifar_resnet(110),
    "resnet18_imagenet": ResNet18ImageNet,
    "resnet50": ResNet50,
    "resnet101": ResNet101,
    "wide_resnet50": WideResNet50,
    "koster_resnet20": KosterResNet20,
    "koster_resnet56": KosterResNet56,
    "koster_resnet110": KosterResNet110,
    "koster_resnet110_masked": KosterResNet110Masked,
}


def get(
    name: str,
    *,
    num_classes: int,
    outputs: int = 0,
    activation: str = "elu",
    convolution: str = "xla",
    **options: Any,
) -> nn.Module:
    """Returns a model by name.

    Args:
      name: in `MODELS`.
      num_classes: K, how many logits there are.
      outputs: how many there are instead, at least K: those past the classes are never a label, and
        help to tell apart the tasks of superposed masks; 0 is K.
      activation: a name in `models.layers.ACTIVATIONS`.
      convolution: a name in `models.convolution.CONVOLUTIONS`; all but "xla" lack forward-mode
        gradients.
      options: attributes of `models.Network`.

    Raises:
      UserError: a name or an option is unknown, or there are fewer outputs than classes.

    >>> model = get("conv2", num_classes=10, width=0.25)
    >>> type(model).__name__
    'ConvNet'
    """
    if outputs and outputs < num_classes:
        raise UserError(f"model outputs: {outputs} are too few for {num_classes} classes")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    if convolution not in CONVOLUTIONS:
        raise unknown_name("convolution", convolution, CONVOLUTIONS)
    options |= {
        "num_classes": outputs or num_classes,
        "activation": ACTIVATIONS[activation],
        "conv_general_dilated": CONVOLUTIONS[convolution],
    }
    return make("model", MODELS, name, **options)
