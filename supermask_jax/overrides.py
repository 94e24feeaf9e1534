"""Overrides of config entries, as on the command line: ``--config.epochs=3``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from absl import flags as absl_flags
from ml_collections import ConfigDict, config_flags

from supermask_jax.config_files import check_config, load_config
from supermask_jax.errors import UserError, unknown_name


def load_with_overrides(
    spec: str, flags: Sequence[str], check: Callable[[ConfigDict], None] = check_config
) -> ConfigDict:
    """Returns the config of a file with overrides applied, each parsed to its entry's type.

    Args:
      spec: as `load_config` takes it: ``configs/fcn.py``, ``fcn:released``.
      flags: e.g. ``["--config.epochs=3"]``.
      check: raises UserError where the config is wrong.

    Raises:
      UserError: there is no such file or entry, or a value is wrong.
    """
    config = load_config(spec)
    for flag in flags:
        if flag.startswith("--config."):
            _check_key(config, *flag.removeprefix("--config.").partition("=")[::2])
    argv, values = ["main.py", *flags], absl_flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        rest = values(argv)[1:]
    except (absl_flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        text = error.args[0] if error.args else error
        raise UserError(" ".join(str(text).split())) from error
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}; overrides look like --config.epochs=3")
    check(config)
    return config


def _check_key(config: ConfigDict, key: str, value: str) -> None:
    """Raises UserError unless the dotted `key` is in `config`, and `value` of its kind."""
    node, prefix = config, "config"
    for part in key.split("."):
        if not isinstance(node, ConfigDict) or part not in node:
            names = node.keys() if isinstance(node, ConfigDict) else ()
            raise unknown_name(f"entry of {prefix}", part, names)
        node, prefix = node[part], f"{prefix}.{part}"
    if isinstance(node, ConfigDict) and not value.startswith("{"):
        names = ", ".join(f"--{prefix}.{name}" for name in node)
        raise UserError(f"{prefix} holds entries, not {value!r}: set {names}")
