"""Config files of the networks: they load, and make the papers' networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from helpers import ROOT

from supermask_jax import models
from supermask_jax.config import IMAGENET
from supermask_jax.config.files import load_config, load_with_overrides
from supermask_jax.core.trees import named_leaves, num_params
from supermask_jax.data import DATASETS
from supermask_jax.data.transforms import make_prepare
from supermask_jax.errors import UserError

CLASSES = {"cifar10": 10, "cifar100": 100}


def load(spec):
    return load_config(str(ROOT / "configs" / spec))


def weights_and_others(config):
    """Numbers of kernel weights and of other parameters."""
    zeros = nn.initializers.zeros  # Quicker to trace than draws.
    model = models.get(num_classes=CLASSES[config.data.name], kernel_init=zeros, **config.model)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    kernels = {n: leaf for n, leaf in named_leaves(params).items() if n.endswith("/kernel")}
    return num_params(kernels), num_params(params) - num_params(kernels)


@pytest.mark.parametrize(
    ("spec", "weights", "others"),
    [
        ("resnet20.py", 248_624, 32),
        ("resnet20.py:baseline", 248_624, 1_600),
        ("resnet56.py", 834_992, 0),
        # Norms of the stem, and in each group of three in the C-block and two in an I-block.
        ("resnet56.py:all_norm", 834_992, 32 + 2 * 112 * (3 + 8 * 2)),
        ("resnet56.py:baseline", 834_992, 32 + 2 * 112 * (3 + 8 * 2)),
        ("resnet110.py:all_norm", 1_668_272, 32 + 2 * 112 * 2 * (3 + 8 * 2)),
        ("resnet110.py:baseline", 1_705_904, 32 + 2 * 112 * (3 + 17 * 2)),
        ("vgg16.py", 14_909_632, 0),
        ("vgg19.py", 20_218_048, 0),
        ("resnet_he.py", 269_722 - 1_376 - 10, 1_376),
        ("resnet_he.py:resnet18", 11_164_352, 9_600),
        ("edge_popup.py:resnet18", 11_164_352, 0),
        ("biprop.py:resnet20", 269_722 - 1_376 - 10, 0),
    ],
)
def test_networks_of_the_configs(spec, weights, others):
    assert weights_and_others(load(spec)) == (weights, others)


def test_width_is_an_entry():
    spec = str(ROOT / "configs" / "resnet20.py")
    config = load_with_overrides(spec, ["--config.model.width=3.5"])
    assert weights_and_others(config)[0] == 3_036_264


# What METHODS says of each row; two passes over CIFAR-100 were one epoch of the originals.
@pytest.mark.parametrize(
    ("spec", "row"),
    [
        ("resnet20.py", ("cifar10", 110, 0.3, 3e-4, 15, 5, 0.2)),
        ("resnet56.py", ("cifar100", 220, 0.3, 1e-4, 30, 7, 0.1)),
        ("resnet56.py:baseline", ("cifar100", 180, 0.15, 1e-4, 20, 7, 0.1)),
        ("resnet110.py", ("cifar100", 220, 0.08, 1e-5, 30, 7, 0.1)),
        ("resnet110.py:stem_norm", ("cifar100", 240, 0.1, 1e-4, 30, 7, 0.1)),
        ("resnet110.py:baseline", ("cifar100", 200, 0.15, 1e-4, 20, 7, 0.1)),
    ],
)
def test_hyperparameters_of_the_rows(spec, row):
    config = load(spec)
    optimizer, schedule = config.optimizer, config.schedule
    rates = optimizer.learning_rate, optimizer.weight_decay
    falls = schedule.patience, schedule.reductions, schedule.factor
    assert row == (config.data.name, config.epochs, *rates, *falls)
    assert schedule.name == "plateau"
    assert (config.data.augment == "crop_flip") == (config.data.name == "cifar100")


def test_residual_relu_networks_are_those_of_edge_popup():
    config = load("edge_popup.py:resnet18")
    assert (config.batch_size, config.optimizer.weight_decay) == (256, 5e-4)
    assert (config.data.augment, config.data.preprocess) == ("crop_flip", "mean_std")


@pytest.mark.parametrize("method", ["edge_popup", "biprop", "multicoat", "dense"])
def test_relu_networks_have_the_data_of_edge_popup(method):
    # (150 / 255 - 0.4914) / 0.2470 of a red pixel, and (150 / 255 - 0.1307) / 0.3081 of a grey one.
    for network, augment, pixel in (("fcn", "none", 1.485), ("conv8", "crop_flip", 0.392)):
        data = load(f"{method}.py:{network}").data
        assert data.augment == augment
        image = jnp.full((1, *DATASETS[data.name].image_shape), 150, jnp.uint8)
        found = make_prepare(data.preprocess, data.augment, data.name, pad=data.pad)(None, image)
        assert float(found[0, 0, 0, 0]) == pytest.approx(pixel, abs=0.002)


@pytest.mark.parametrize(
    ("method", "preprocess"), [("bernoulli", "unit"), ("signed_topk", "standardize")]
)
def test_other_methods_keep_the_data_of_their_sources(method, preprocess):
    for network in ("fcn", "conv8"):
        data = load(f"{method}.py:{network}").data
        assert (data.augment, data.preprocess) == ("none", preprocess)


@pytest.mark.parametrize("name", ["resnet20", "vgg16", "resnet_he"])
def test_unknown_variants(name):
    with pytest.raises(UserError, match="unknown variant 'publishd'"):
        load(f"{name}.py:publishd")


@pytest.mark.parametrize("network", IMAGENET)
@pytest.mark.parametrize(
    ("method", "rate", "density"),
    [("edge_popup", 0.256, 0.3), ("biprop", 0.128, 0.2), ("signed_topk", 0.256, 0.3)],
)
def test_imagenet_is_trained_on_as_edge_popup_s_code_does(method, rate, density, network):
    config = load(f"{method}.py:{network}")
    optimizer, schedule = config.optimizer, config.schedule
    assert (optimizer.name, optimizer.learning_rate, optimizer.momentum) == ("sgd", rate, 0.875)
    assert (optimizer.weight_decay, optimizer.nesterov) == (3.0517578125e-05, False)
    assert (schedule.name, schedule.per_epoch, schedule.warmup) == ("cosine", True, 5.0)
    assert (config.epochs, config.batch_size, config.label_smoothing) == (100, 256, 0.1)
    assert (config.data.name, config.data.image_size) == ("folder:imagenet", 224)
    assert (config.data.augment, config.data.preprocess) == ("resized_crop_flip", "mean_std")
    assert (config.model.name, config.model.norm) == (IMAGENET[network], "all")
    assert not config.model.norm_affine and config.method.density == density


@pytest.mark.parametrize("network", ["resnet50-imagenet", "conv2"])
def test_the_originals_of_cifar_have_no_other_variants(network):
    with pytest.raises(UserError, match=f"unknown variant '{network}'"):
        load_config(f"resnet_he:{network}")
