"""Loads configs with overrides and checks them; says what makes two of them the same run."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from supermask_jax.config import overrides
from supermask_jax.config.defaults import default_config
from supermask_jax.data import own, spec_of
from supermask_jax.data.datasets import check_name
from supermask_jax.errors import UserError, unknown_name

# Entries that do not change what is computed: a run may be resumed with other values.
NOT_IDENTITY = ("data.data_dir", "data.cache_dir", "data.streaming", "tensorboard")
NOT_IDENTITY += ("tensorboard_masks", "steps_per_call", "seeds_per_program", "seed_loop", "mesh")
NOT_IDENTITY += ("convolution",)

_AT_LEAST_1 = "epochs batch_size microbatches eval_batch_size checkpoints_to_keep num_seeds".split()
_AT_LEAST_0 = "steps_per_call seed seeds_per_program data.subset".split()
_CHOICES = {
    "protocol": ("validation", "paper"),
    "seed_loop": ("auto", "vmap", "unroll"),
    "compute_dtype": ("float32", "bfloat16"),
    "convolution": ("auto", "xla", "products"),
    "data.streaming": ("auto", "always", "never"),
}


def changes_nothing(flag: str) -> bool:
    """Says whether a flag sets an entry of `NOT_IDENTITY`, e.g. ``--config.mesh.data=4``."""
    name = flag.partition("=")[0]
    return any(f"{name}.".startswith(f"--config.{entry}.") for entry in NOT_IDENTITY)


def identity(config: ConfigDict) -> dict[str, Any]:
    """Returns the config as a plain dict, without the entries that change nothing computed.

    `microbatches` is one of them where no batch norm normalises each by itself.
    """
    batch_norm = config.model.get("norm") != "none" and not config.model.get("norm_frozen")
    plain = config.to_dict()
    for name in NOT_IDENTITY if batch_norm else (*NOT_IDENTITY, "microbatches"):
        section, _, entry = name.rpartition(".")
        (plain[section] if section else plain).pop(entry)
    if own.is_own(config.data.name) and not config.data.digest:
        plain["data"]["digest"] = spec_of(config.data).digest
    return plain


def default_identity() -> dict[str, Any]:
    """Returns what `identity` gives for the default config: entries that an old run lacks."""
    config = default_config()
    method = {**config.method.to_dict(), "counting": "nearest"}
    return identity(config) | {"microbatches": config.microbatches, "method": method}


def shipped_configs() -> dict[str, Path]:
    """Returns {name: file} of the configs that come with the package, those in ``configs/``."""
    package = Path(__file__).resolve().parents[1]
    # In a checkout they stand beside the package.
    inside = package / "configs"
    folder = inside if inside.is_dir() else package.parent / "configs"
    return {name: folder / f"{name}.py" for name in sorted(_stems(folder))}


def load_config(spec: str) -> ConfigDict:
    """Returns the config of a file, or of one that comes with the package.

    Args:
      spec: ``configs/fcn.py``, or ``configs/fcn.py:released`` for a variant; ``fcn`` and
        ``fcn:released`` of those that `shipped_configs` names.

    Raises:
      UserError: there is no such file, name or variant, or the file cannot be run.
    """
    path, _, variant = spec.partition(":")
    path = _config_file(path)
    module_spec = importlib.util.spec_from_file_location(f"config_{Path(path).stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"config file {path} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        with _neighbours(Path(path).resolve().parent):
            module_spec.loader.exec_module(module)
            if variant and not inspect.signature(module.get_config).parameters:
                raise UserError(f"it has no variants: leave out {variant!r}")
            config = module.get_config(variant) if variant else module.get_config()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        raise UserError(f"config file {path}: {type(error).__name__}: {error}") from error
    return config


def load_with_overrides(
    spec: str, flags: Sequence[str], check: Callable[[ConfigDict], None] | None = None
) -> ConfigDict:
    """Returns the config of a file with overrides applied, each parsed to its entry's type.

    Args:
      spec: as `load_config` takes it: ``configs/fcn.py``, ``fcn:released``.
      flags: e.g. ``["--config.epochs=3"]``: see `overrides`.
      check: raises UserError where the config is wrong; None is `check_config`.

    Raises:
      UserError: there is no such file or entry, or a value is wrong.
    """
    config = load_config(spec)
    overrides.apply(config, flags)
    (check or check_config)(config)
    return config


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Lets a config file import those beside it, as a script may, and forgets them after."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in sys.modules.keys() - before:
            if Path(getattr(sys.modules[name], "__file__", None) or "").parent == folder:
                del sys.modules[name]


def _config_file(path: str) -> str:
    if Path(path).is_file():
        return path
    shipped, stem = shipped_configs(), Path(path).stem
    if path in shipped:
        return str(shipped[path])
    if path == stem:
        raise unknown_name("config", path, shipped)
    near = difflib.get_close_matches(stem, _stems(Path(path).parent), n=1)
    hint = f"; did you mean {Path(path).parent / near[0]}.py?" if near else ""
    if not hint and stem in shipped:
        hint = f"; did you mean {stem}, which comes with the package?"
    raise UserError(f"there is no config file {path}{hint}")


def _stems(folder: Path) -> list[str]:
    return [path.stem for path in folder.glob("[!_]*.py")] if folder.is_dir() else []


def check_config(config: ConfigDict) -> None:
    """Checks every entry that no factory checks.

    Raises:
      UserError: an entry is missing, unknown, of the wrong type, or out of range.
    """
    check_entries(config, default_config(), "")
    _check_name(config.name)
    for section, block in overrides.BLOCKS.items():
        if "." in section:  # In a method, which checks it.
            continue
        if not isinstance(config[section].get(block.named_by), str):
            held = config[section].to_dict()
            raise UserError(f"config.{section} must say its {block.named_by}, got {held!r}")
    for least, names in enumerate((_AT_LEAST_0, _AT_LEAST_1)):
        for name in names:
            _must(config, name, attrgetter(name)(config) >= least, f"be at least {least}")
    sizes = f"divide config.batch_size {config.batch_size}"
    _must(config, "microbatches", config.batch_size % config.microbatches == 0, sizes)
    smoothing = config.label_smoothing
    _must(config, "label_smoothing", 0 <= smoothing < 1, "be at least 0 and below 1")
    if (last := config.seed + config.num_seeds - 1) >= 2**32:
        raise UserError(f"config.seed must be below 2**32, got {last}")
    if config.num_seeds == 1:
        hint = ": set config.num_seeds, or config.mesh.data"
        _must(config, "mesh.seed", config.mesh.seed in (0, 1), "be 0 or 1 for one seed", hint)
    for name, known in _CHOICES.items():
        if (value := attrgetter(name)(config)) not in known:
            raise unknown_name(name, value, known)
    fraction = config.validation_fraction
    _must(config, "validation_fraction", 0 < fraction <= 0.5, "be in (0, 0.5]")
    parts = round(1 / fraction)
    whole = f"be 1 divided by a whole number, such as {1 / parts:.6g}"
    _must(config, "validation_fraction", abs(1 / fraction - parts) <= 1e-6, whole)
    width = config.model.get("width", 1.0)
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width < 1e6:
        raise UserError(f"config.model.width must be positive and below 1e6, got {width!r}")
    subset, left = config.data.subset, f"leave something to hold out: at least {parts}"
    held_out = config.protocol != "validation" or subset == 0 or subset >= parts
    _must(config, "data.subset", held_out, left)
    check_name(config.data.name)
    size = config.data.image_size
    fits = size == 0 or (size > 0 and own.is_own(config.data.name))
    _must(config, "data.image_size", fits, "be 0, but for data sets of one's own (KIND:PLACE)")


def _must(config: ConfigDict, name: str, holds: bool, what: str, hint: str = "") -> None:
    """Raises a UserError unless what the entry of this dotted name must be `holds`."""
    if not holds:
        raise UserError(f"config.{name} must {what}, got {attrgetter(name)(config)}{hint}")


def _check_name(name: str) -> None:
    # It names folders and files.
    if name in ("", ".", "..") or set(name) & set("/\\") or not name.isprintable():
        raise UserError(
            f"config.name must be a file name, without folders, got {name!r}: name the folder by "
            "--workdir"
        )


def warnings(config: ConfigDict) -> list[str]:
    """Returns a line for each entry that is possible, and hardly what was meant."""
    spec = spec_of(config.data)
    found, classes, used = [], spec.num_classes, spec.train_size
    if config.protocol == "validation":
        used -= used // round(1 / config.validation_fraction)
    if config.batch_size > used and not config.data.subset:
        found.append(
            f"config.batch_size is {config.batch_size:,}, and there are {used:,} images to train "
            "on: every epoch is one step"
        )
    if config.weight_init.get("gain") == 0:
        found.append("config.weight_init.gain is 0: every weight starts at 0, and no mask matters")
    if 0 < config.data.subset < classes:
        found.append(
            f"config.data.subset is {config.data.subset}: fewer examples than the {classes} "
            "classes there are"
        )
    return found


# Their entries are checked by who takes them: a factory, which names the unknown ones itself.
_FACTORIES = ("model", "weight_init", "method", "optimizer", "schedule", "layers", "keep_layers")


def check_entries(config: ConfigDict, default: ConfigDict, prefix: str) -> None:
    """Raises a UserError unless `config` has exactly the entries of `default`, of their types."""
    for key in config:
        if not isinstance(key, str) or key not in default:
            near = difflib.get_close_matches(key, default.keys(), n=1)
            hint = f": did you mean config.{prefix}{near[0]}?" if near else ""
            raise UserError(f"unknown config entry config.{prefix}{key}{hint}")
    for key, value in default.items():
        name = f"config.{prefix}{key}"
        if key not in config:
            raise UserError(f"{name} is missing: start from supermask_jax.config.default_config()")
        if isinstance(value, ConfigDict):
            if not isinstance(config[key], ConfigDict):
                raise UserError(f"{name} must hold entries, got {config[key]!r}")
            if key not in _FACTORIES:
                check_entries(config[key], value, f"{prefix}{key}.")
        elif type(config[key]) is not type(value):
            expected = type(value).__name__
            raise UserError(f"{name} must be of type {expected}, got {config[key]!r}")
