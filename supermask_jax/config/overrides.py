"""Overrides of a config's entries, such as ``--config.epochs=3`` or ``--config.optimizer=adamw``.

What names a factory (`BLOCKS`) loads the entries of that one, at the defaults of its signature.
That comes first, wherever it stands: the other overrides apply on top.
"""

from __future__ import annotations

import ast
import copy
import difflib
import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from supermask_jax.config.defaults import score_init
from supermask_jax.errors import UserError, one_line, options_of, unknown_name
from supermask_jax.run_files import flat


class _Block(NamedTuple):
    """A section of a config that one of several factories is called with."""

    kind: str
    named_by: str  # the entry that names the factory
    registries: tuple[str, ...]  # module:name; imported when needed, for they import JAX
    keeps: bool = False  # the factories share their entries: those of the one before stay


_DRAWN = ("core.initializers:INITIALIZERS",)
_SCHEDULES = ("training.schedules:SCHEDULES", "training.schedules:CONTROLLERS")
# Outer ones before what is in them.
BLOCKS = {
    "model": _Block("model", "name", ("models:MODELS",), keeps=True),
    "weight_init": _Block("initializer", "distribution", _DRAWN, keeps=True),
    "method": _Block("method", "name", ("methods:METHODS",)),
    "optimizer": _Block("optimizer", "name", ("training.optimizers:OPTIMIZERS",)),
    "schedule": _Block("schedule", "name", _SCHEDULES),
    "method.threshold": _Block("threshold rule", "rule", ("core.thresholds:THRESHOLDS",)),
    "method.score_init": _Block("initializer", "distribution", _DRAWN, keeps=True),
}
_NAMES = {key: key for key in BLOCKS} | {f"{k}.{b.named_by}": k for k, b in BLOCKS.items()}
# Entries that signatures leave to their caller: learning rates, and what a method makes itself.
_KAIMING = score_init("uniform", "he", 6**-0.5)
_XAVIER = score_init("uniform", "xavier")
_MORE = {
    "sgdw": {"learning_rate": 0.05},
    "sgd": {"learning_rate": 0.1},
    **dict.fromkeys(("adam", "adamw", "rmsprop"), {"learning_rate": 1e-3}),
    "signed": {"threshold": ConfigDict({"rule": "absolute", "value": 0.01}), "score_init": _XAVIER},
    "signed_topk": {"score_init": _XAVIER},
    "edge_popup": {"score_init": _KAIMING},
    "biprop": {"score_init": _KAIMING},
    "multicoat": {"score_init": score_init("normal", "he_fan_out")},
}
# Defaults that are values of a config; the others are None.
_PLAIN = (bool, int, float, str, tuple)
# Sections whose entries may have any name, and what their values are like.
_FREE: dict[str, Any] = {"lottery.keep_layers": 0.0, "layers": ""}


def apply(config: ConfigDict, flags: Sequence[str]) -> None:
    """Sets the entries that the flags name, each parsed to its entry's type.

    Args:
      config: changed in place.
      flags: e.g. ``["--config.epochs=3", "--config.optimizer=adamw"]``.

    Raises:
      UserError: there is no such entry, or a value cannot be one of it.
    """
    pairs = [_pair(config, flag) for flag in flags]
    for block in BLOCKS:
        for key, text in pairs:
            if _NAMES.get(key) == block:
                _switch(config, block, text)
    for key, text in pairs:
        if key not in _NAMES:
            _set(config, key, text)


def _pair(config: ConfigDict, flag: str) -> tuple[str, str]:
    """Returns the entry and the text of a flag."""
    name, equals, text = flag.partition("=")
    if name.startswith("--config.") and name != "--config.":
        return name.removeprefix("--config."), text if equals else "true"  # A bare one is a switch.
    near = _near(name.lstrip("-"), _entries(config)) if name.startswith("--") else ""
    raise UserError(f"unexpected argument {flag!r}: {near}overrides look like --config.epochs=3")


def _options(block: str, name: Any) -> dict[str, Any]:
    """Returns what a block may hold beside its name, with the defaults of the factory's signature.

    Raises:
      UserError: there is no such factory.
    """
    kind, _, registries, _ = BLOCKS[block]
    factories: dict[str, Callable[..., Any]] = {}
    for place in registries:
        module, _, registry = place.partition(":")
        factories |= getattr(importlib.import_module(f"supermask_jax.{module}"), registry)
    if name not in factories:
        raise unknown_name(kind, name, factories)
    return options_of(factories[name])


def _section(config: ConfigDict, key: str) -> ConfigDict | None:
    """Returns the section of that dotted key, None where there is none."""
    node: Any = config
    for part in key.split(".") if key else ():
        node = node.get(part) if isinstance(node, ConfigDict) else None
    return node if isinstance(node, ConfigDict) else None


def _entries(config: ConfigDict) -> dict[str, Any]:
    """Returns all that can be given, as {"optimizer.nesterov": value there, else default}."""
    found = {}
    for block, (_, named_by, *_) in BLOCKS.items():
        if (node := _section(config, block)) is not None and named_by in node:
            options = _options(block, node[named_by])
            found |= {f"{block}.{option}": value for option, value in options.items()}
    return dict.fromkeys(config) | found | flat(config.to_dict())


def _switch(config: ConfigDict, block: str, text: str) -> None:
    """Makes a block that of another factory, by its name or by ``{'name': ..., ...}``."""
    _, named_by, _, keeps = BLOCKS[block]
    whole = text.startswith("{")
    given = _parsed(block, text, {}) if whole else {named_by: text}
    if not isinstance(name := given.get(named_by), str):
        raise UserError(f"config.{block} must say its {named_by}, got {given!r}")
    section, _, entry = block.rpartition(".")
    parent, old = _section(config, section), _section(config, block) or {}
    if not whole and old.get(named_by) == name:
        return
    options = _options(block, name)
    for option in given.keys() - {named_by}:
        if option not in options:
            raise _unknown(f"{block}.{option}", [f"{block}.{o}" for o in options], name)
    if parent is None or (not old and block not in (known := _entries(config))):
        raise _unknown(block, known, _named(config, section))
    if keeps:
        own = {} if whole else {o: value for o, value in old.items() if o in options}
    else:
        own = {o: value for o, value in options.items() if isinstance(value, _PLAIN)}
        own |= copy.deepcopy(_MORE.get(name, {}))
    with config.unlocked():
        parent[entry] = ConfigDict(own | given)


def _set(config: ConfigDict, key: str, text: str) -> None:
    """Sets one entry, or of a section that names no factory the entries of a ``{...}``."""
    section, _, entry = key.rpartition(".")
    parent, known = _section(config, section), flat(config.to_dict())
    if (inner := _section(config, key)) is not None:
        if not text.startswith("{") and "name" in inner:
            return _set(config, f"{key}.name", text)
        if not text.startswith("{"):
            names = ", ".join(f"--config.{key}.{name}" for name in inner)
            raise UserError(f"config.{key} holds entries, not {text!r}: set {names}")
        for name, value in _parsed(key, text, {}).items():
            _set(config, f"{key}.{name}", str(value))
        return
    if key not in known:
        known = _entries(config)
    if key not in known and section not in _FREE:
        raise _unknown(key, known, _named(config, section))
    with config.unlocked():
        parent[entry] = _parsed(key, text, known.get(key, _FREE.get(section)))


def _named(config: ConfigDict, section: str) -> str:
    """Returns the name of the factory that a section is of, "" where it is of none."""
    node = _section(config, section)
    return node.get(BLOCKS[section].named_by, "") if node and section in BLOCKS else ""


def _unknown(key: str, known: Iterable[str], name: str = "") -> UserError:
    section, _, entry = key.rpartition(".")
    inside = [k.removeprefix(f"{section}.") for k in known if k.rpartition(".")[0] == section]
    place = f"config.{section}" if section else "config"
    near = _near(key, known)
    takes = f"{place}{f' ({name})' * bool(name)} takes {', '.join(inside) or 'no entries'}"
    said = f"{near}{takes * bool(section or not near)}".rstrip()
    return UserError(f"unknown entry config.{key}: {said}")


def _near(key: str, known: Iterable[str]) -> str:
    """Returns a question for the full name of the entry that `key` may have meant, else ""."""
    section, _, last = key.rpartition(".")
    inside, ends = {}, {}
    for full in known:
        place, _, name = full.rpartition(".")
        ends.setdefault(name, full)
        if place == section:
            inside[name] = full
    for names, cutoff in ((inside, 0.6), (ends, 0.8)):
        if near := difflib.get_close_matches(last, names, n=1, cutoff=cutoff):
            return f"did you mean --config.{names[near[0]]}? "
    return ""


_WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "values with commas",
    dict: "entries, such as {'name': 'sgd', 'nesterov': True}",
}
_SWITCH = dict.fromkeys("true t 1 yes".split(), True) | dict.fromkeys("false f 0 no".split(), False)


def _parsed(key: str, text: str, like: Any) -> Any:
    """Returns the value that a text stands for, of the type of `like`; any where that is None."""
    kind = type(like)
    try:
        if kind is bool:
            return _SWITCH[text.lower()]
        if kind in (int, float, str):
            return kind(text)
        value = ast.literal_eval(text)
        if kind is tuple and not isinstance(value, (tuple, list)):
            value = (value,)
        if not isinstance(value, kind) and like is not None:
            raise ValueError
        return value
    except (KeyError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        if like is None:
            return text
        wanted = _WANTED.get(kind, "a value of its type")
        raise UserError(f"--config.{key}={one_line(text, 60)}: it must be {wanted}") from error
