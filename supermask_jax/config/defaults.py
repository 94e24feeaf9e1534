"""The defaults of every run, in one place, and the pieces that config files are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from supermask_jax.errors import unknown_name


def default_config() -> ConfigDict:
    """Returns a signed supermask of the FCN on MNIST: every entry there is, with its default."""
    config = ConfigDict()
    config.name = "default"
    config.seed = 0
    config.num_seeds = 1  # runs with seeds from `seed` on, in one work folder
    config.seeds_per_program = 0  # how many of them train together; 0 chooses by model and memory
    config.seed_loop = "auto"  # how: "vmap" or "unroll"
    config.mesh = ConfigDict({"seed": 0, "data": 0})  # devices on each axis; 0 chooses
    # Of activations, products and effective weights; scores and statistics are float32 always.
    config.compute_dtype = "float32"
    config.convolution = "auto"  # how they are computed: "xla", "products"; auto: by backend
    # 'validation': every k-th training example is held out and the test set is touched once, at
    # the end. 'paper': train on all, evaluate on test after every epoch, as the originals did.
    config.protocol = "validation"
    config.validation_fraction = 0.1
    config.epochs = 100
    config.batch_size = 128
    # A batch is split into so many, whose gradients are summed: a step needs the memory of one.
    config.microbatches = 1
    config.label_smoothing = 0.0  # share of the target that all classes have alike, in training
    config.eval_batch_size = 500
    config.data = ConfigDict(
        {
            "name": "mnist",
            "preprocess": "standardize",  # each image by itself; "mean_std": by the data set's
            # In training. "crop_flip": pad by 4, crop and flip at random; "resized_crop_flip": a
            # crop of random area and shape, resized back, and flip; "..._color": brightness,
            # contrast and saturation as well.
            "augment": "none",
            "pad": "black",  # what it pads with; "mean": with 0, after preprocessing
            "shuffle": True,
            "image_size": 0,  # of data of one's own: resized and cropped to so many pixels a side
            "streaming": "auto",  # "always": images stay on the host; "never"; "auto" by size
            "digest": "",  # content that the data must have; a run on one's own fills it in
            "subset": 0,  # only so many examples of either split; 0 is all
            "data_dir": "",
            "cache_dir": "",
        }
    )
    config.model = network("fcn")
    config.weight_init = weight_init("signed_constant", "elus_sqrt3")
    config.pretrained = ""  # file of a ticket whose network takes the place of drawn weights
    config.method = signed("absolute", value=0.01)
    # What masks are found in: random weights of this density; a share of each layer always kept.
    config.source = ConfigDict({"rule": "uniform", "density": 1.0, "lock": 0.0})
    # Leaves by name or glob, such as "dense3/*": masked, trained, frozen; else kernels are masked.
    config.layers = ConfigDict()
    config.optimizer = sgdw(0.05, 5e-4)
    config.schedule = exponential(0.9, 10.0)
    config.checkpoints_to_keep = 3
    config.steps_per_call = 0  # steps in one dispatch; 0 chooses by model and backend
    config.tensorboard = False
    config.tensorboard_masks = False  # with pictures of masks
    return config


def network(name: str, **entries: str | float | bool) -> ConfigDict:
    """A network of `models.MODELS`: ELU and no batch norm, but for the `entries` given.

    `norm` is where batch norm goes (none, stem, all), `norm_affine` whether it has a trained scale
    and bias, `norm_frozen` makes it a constant (`models.layers.Norm`). `bias` and `dropout` are
    those of `models.Network`; biases are trained, unless `config.layers` freezes them.
    """
    # More outputs than there are classes; 0: as many.
    sizes = {"width": 1.0, "outputs": 0, "activation": "elu"}
    norms = {"norm": "none", "norm_affine": False, "norm_frozen": False}
    more = {"bias": False, "dropout": 0.0}
    return ConfigDict({"name": name, **sizes, **norms, **more, **entries})


def weight_init(distribution: str, scale: str, gain: float = 1.0) -> ConfigDict:
    """Initialiser of the weights, frozen or trained: names in `core.initializers`."""
    return ConfigDict({"distribution": distribution, "scale": scale, "gain": gain})


def signed(rule: str, *, scores: str = "xavier", **options: float) -> ConfigDict:
    """The signed supermask with uniform scores of a scale under a threshold rule."""
    masks = {"score_init": weight_init("uniform", scores), "threshold": {"rule": rule, **options}}
    densities = {"density": 0.0, "anneal": 0.5, "start_density": 1.0}
    return ConfigDict({"name": "signed", **masks, **densities})


def dense() -> ConfigDict:
    """The dense baseline."""
    return ConfigDict({"name": "dense"})


def lottery(**entries: Any) -> ConfigDict:
    """Levels of pruning, for `experiments/lottery.py`: a `lottery.recipes.Recipe`, and more.

    `criterion`, `mask1` and `mask0` may each be several names with commas: a grid.
    """
    section = ConfigDict()
    section.levels = 10
    section.keep = 0.8  # share of the remaining weights that stays at a level
    section.keep_layers = ConfigDict()  # shares of single layers, by name or glob
    section.scope = "layer"
    section.mode = "iterative"
    section.criterion = "large_final"
    section.mask1 = "rewind"
    section.mask0 = "zero"
    section.rewind_steps = 0  # tickets start from the weights of level 0 after so many steps
    section.prune_at_init = False  # prune before any training: level 0 is not trained
    section.sign_in = False  # weights train as products, whose signs flip more easily
    section.interpolate_norm = False  # a batch norm's scale and bias between theirs and 1 and 0
    section.counting = "nearest"
    section.rescale = False
    section.sigma = 0.0  # of signed constants; 0 is the standard deviation of the layer
    section.original_quirks = False
    section.untrained = False  # evaluate one-shot masks on untrained weights instead of training
    section.update(entries)
    return section


def sgdw(learning_rate: float, weight_decay: float) -> ConfigDict:
    """The originals' optimiser: Nesterov momentum 0.9, decay not multiplied by the rate."""
    rates = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return ConfigDict({"name": "sgdw", **rates, "momentum": 0.9, "nesterov": True})


def exponential(rate: float, every: float, staircase: bool = False) -> ConfigDict:
    """Factor `rate` every so many epochs, continuous or in steps."""
    return ConfigDict({"name": "exponential", "rate": rate, "every": every, "staircase": staircase})


def plateau(patience: int, reductions: int, factor: float) -> ConfigDict:
    """Factor `factor` where the training loss stalls for `patience` epochs; ends after the last."""
    given = {"patience": patience, "reductions": reductions, "factor": factor}
    more = {"cooldown": 10, "start": 10, "min_delta": 1e-4, "original_quirks": False}
    return ConfigDict({"name": "plateau", **given, **more})


def use_variant(
    config: ConfigDict, variant: str, variants: Mapping[str, Mapping[str, Any]]
) -> ConfigDict:
    """Returns `config` with the entries of one variant replaced, and its name extended by it.

    Raises:
      UserError: there is no such variant.
    """
    if variant not in variants:
        raise unknown_name("variant", variant, variants)
    for key, value in variants[variant].items():
        config[key] = value
    config.name = f"{config.name}-{variant}"
    return config


def sgd(learning_rate: float, weight_decay: float) -> ConfigDict:
    """SGD with momentum 0.9 and coupled decay, as PyTorch's."""
    rates = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return ConfigDict({"name": "sgd", **rates, "momentum": 0.9, "nesterov": False})


def score_init(distribution: str, scale: str, gain: float = 1.0) -> ConfigDict:
    """Initialiser of the scores: names in `core.initializers`."""
    return weight_init(distribution, scale, gain)


def conv_on_cifar10(
    name: str,
    variant: str,
    *,
    learning_rate: float,
    baseline_learning_rate: float,
    best_epochs: int,
    best_density: float,
    extreme_epochs: int = 110,
    extreme_every: float = 10.0,
) -> ConfigDict:
    """Returns a variant of Conv2, Conv4, Conv6 or Conv8 on CIFAR-10 (Koster et al., 2022).

    Args:
      name: the network.
      variant: "published", the best candidate for the row: absolute threshold 0.01, weights
        +-sqrt(3 / fan_in); "released", the released code's threshold, 0.4 of the layer's largest
        score; "baseline", dense; "extreme", the settings for fewest weights: threshold 0.6 and a
        small learning rate; "best", ours: the paper's density, held on a path from 5 %, with
        constants twice as large, since few weights are left of each unit's.
      learning_rate: of all but the baseline and the extreme variant.
      baseline_learning_rate: of the baseline.
      best_epochs: length of the best variant, with a cosine to zero on rate and decay alike.
      best_density: kept fraction of the best variant: the paper's.
      extreme_epochs: length of the extreme variant.
      extreme_every: epochs in which its learning rate falls by a tenth.

    Raises:
      UserError: there is no such variant.
    """
    config = default_config()
    config.name = config.model.name = name
    config.data.name = "cifar10"
    config.optimizer = sgdw(learning_rate, 5e-4)
    # At first a tenth of the weights, so that the large constants do not overshoot.
    sparse = signed("fraction_of_max", fraction=0.9)
    sparse.density, sparse.start_density, sparse.anneal = best_density, 0.05, 0.6
    variants = {
        "published": {},
        "released": {"method": signed("fraction_of_max", fraction=0.4)},
        "best": {
            "epochs": best_epochs,
            "weight_init": weight_init("signed_constant", "elus_sqrt3", 2.0),
            "method": sparse,
            "schedule": ConfigDict({"name": "cosine", "per_epoch": False}),
        },
        "baseline": {
            "epochs": 50,
            "weight_init": weight_init("uniform", "elu"),
            "method": dense(),
            "optimizer": sgdw(baseline_learning_rate, 7e-4),
            "schedule": exponential(0.9, 5.0),
        },
        "extreme": {
            "epochs": extreme_epochs,
            "method": signed("fraction_of_max", fraction=0.6),
            "optimizer": sgdw(0.01, 5e-4),
            "schedule": exponential(0.9, extreme_every),
        },
    }
    return use_variant(config, variant, variants)
