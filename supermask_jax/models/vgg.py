"""VGG16 and VGG19 for CIFAR, with the two hidden dense layers of Conv2 to Conv8.

The convolutions are those of Simonyan and Zisserman, 2015, table 1 (D and E); the
dense part, 256-256, is that of Koster et al., 2022, in their early code.
"""

from __future__ import annotations

from functools import partial

from supermask_jax.models.conv import ConvNet

STAGES = (64, 128, 256, 512, 512)

VGG16 = partial(ConvNet, stages=STAGES, depths=(2, 2, 3, 3, 3))
VGG19 = partial(ConvNet, stages=STAGES, depths=(2, 2, 4, 4, 4))
