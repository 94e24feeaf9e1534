"""``supermask data``: which data sets are in reach, and preparing one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from supermask_jax.commands.common import Parser, guarded
from supermask_jax.data import DATASETS, load
from supermask_jax.data.cache import cache_path
from supermask_jax.data.datasets import find_folders
from supermask_jax.data.reach import reach
from supermask_jax.errors import UserError, unknown_name

_EPILOG = """\
Without words, or with list, every data set is listed with its sources in the order in which they
are tried. Nothing is fetched or read for that: the first source with a + would serve, if it is
whole and the network is there. prepare loads a data set by the route of a training run, which
checks it and writes the cache.
"""


def _list(names: Sequence[str], args: argparse.Namespace) -> None:
    folders = find_folders(args.data_dir, args.cache_dir)
    found = {name: reach(name, folders) for name in names or DATASETS}
    if args.json:
        plain = {
            name: {source: r._asdict() for source, r in r.items()} for name, r in found.items()
        }
        print(json.dumps(plain, indent=2))
        return
    for name, sources in found.items():
        spec = DATASETS[name]
        shape = " x ".join(map(str, spec.image_shape))
        sizes = f"{spec.train_size:,} train and {spec.test_size:,} test images"
        print(f"{name}: {sizes} of {shape}, {spec.num_classes} classes")
        for source, r in sources.items():
            print(f"  {'+' if r.there else '-'} {source:8}  {r.text}")


def _prepare(names: Sequence[str], args: argparse.Namespace) -> None:
    if not names:
        raise UserError(f"prepare which data set? known: {', '.join(sorted(DATASETS))}")
    folders = find_folders(args.data_dir, args.cache_dir)
    for name in names:
        data = load(name, data_dir=args.data_dir, cache_dir=args.cache_dir)
        sizes = f"{len(data.train.labels):,} train and {len(data.test.labels):,} test images"
        print(f"{name}: {sizes} from {data.source}, SHA-256 {data.digest}")
        if "cache" not in DATASETS[name].sources:
            continue
        path = cache_path(name, folders.cache)
        if not path.is_file():  # Loading only warns of that.
            raise UserError(f"{path} could not be written: give another --cache_dir")
        print(f"  ready in {path}")


_ACTIONS = {"list": _list, "prepare": _prepare}


def _act(argv: Sequence[str]) -> None:
    parser = Parser("data", "Says which data sets are in reach, and prepares them.", _EPILOG)
    add = parser.add_argument
    add("action", nargs="?", default="list", choices=sorted(_ACTIONS), help="default: list")
    add("names", nargs="*", metavar="NAME", help=f"data sets: {', '.join(DATASETS)}")
    add("--data_dir", metavar="FOLDER", help="prepared TFDS data sets and archives (default: "
        "TFDS_DATA_DIR, else ~/tensorflow_datasets)")  # fmt: skip
    add("--cache_dir", metavar="FOLDER", help="our cache (default: SUPERMASK_CACHE, else "
        "~/.cache/supermask_jax)")  # fmt: skip
    add("--json", action="store_true", help="list: print JSON instead")
    args = parser.parse_args(argv)
    for name in args.names:
        if name not in DATASETS:
            raise unknown_name("data set", name, DATASETS)
    _ACTIONS[args.action](args.names, args)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns the exit status."""
    return guarded(_act, argv)
