"""Configs: what a run is made of, read from files and changed by flags."""

from supermask_jax.config.defaults import conv_on_cifar10 as conv_on_cifar10
from supermask_jax.config.defaults import default_config as default_config
from supermask_jax.config.defaults import dense as dense
from supermask_jax.config.defaults import exponential as exponential
from supermask_jax.config.defaults import lottery as lottery
from supermask_jax.config.defaults import network as network
from supermask_jax.config.defaults import plateau as plateau
from supermask_jax.config.defaults import score_init as score_init
from supermask_jax.config.defaults import sgd as sgd
from supermask_jax.config.defaults import sgdw as sgdw
from supermask_jax.config.defaults import signed as signed
from supermask_jax.config.defaults import use_variant as use_variant
from supermask_jax.config.defaults import weight_init as weight_init
from supermask_jax.config.relu import CONVS as CONVS
from supermask_jax.config.relu import IMAGENET as IMAGENET
from supermask_jax.config.relu import RESNETS as RESNETS
from supermask_jax.config.relu import relu_network as relu_network
