"""The repository that a command works in: its folder, and the rows of its results table."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from supermask_jax.analysis.rows import Row
from supermask_jax.errors import UserError

_FOLDERS = ("configs", "supermask_jax")


class Checkout(NamedTuple):
    """Where the config files, results and pages of the table are."""

    root: Path
    rows: Sequence[Row]  # most valuable first


def find(places: Iterable[Path] | None = None) -> Checkout:
    """Returns the checkout that the working folder is in, else the one that this package is in.

    Its table is executed: a folder that merely has a file of that name is none.

    Args:
      places: folders to look in instead, in this order.

    Raises:
      UserError: there is none.
    """
    if places is None:
        here = Path.cwd()
        places = (here, *here.parents, Path(__file__).resolve().parents[2])
    for place in places:
        table = place / "experiments" / "rows.py"
        if table.is_file() and all((place / name).is_dir() for name in _FOLDERS):
            spec = importlib.util.spec_from_file_location("rows", table)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return Checkout(place, module.ROWS)
    raise UserError(
        "the rows of the results table and their configs are in the repository of supermask_jax: "
        "give this command in a checkout of it"
    )
