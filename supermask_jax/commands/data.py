"""``supermask data``."""

from __future__ import annotations

import argparse
import json

from supermask_jax.errors import UserError, unknown_name

EPILOG = """\
Without words, or with list, every data set is listed with its sources in the order in which they
are tried. Nothing is fetched or read for that: the first source with a + would serve, if it is
whole and the network is there. prepare loads a data set by the route of a training run, which
checks it and writes the cache.
"""
EXAMPLES = ("data list", "data prepare mnist --cache_dir=cache")

_DATA_DIR = "(default: TFDS_DATA_DIR, else ~/tensorflow_datasets)"
_CACHE_DIR = "(default: SUPERMASK_CACHE, else ~/.cache/supermask_jax)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add("action", nargs="?", default="list", choices=["list", "prepare"], help="default: list")
    add("names", nargs="*", metavar="NAME", help="data sets, e.g. mnist; list: default: all")
    add("--data_dir", metavar="FOLDER", help=f"prepared TFDS data sets and archives {_DATA_DIR}")
    add("--cache_dir", metavar="FOLDER", help=f"our cache {_CACHE_DIR}")
    add("--json", action="store_true", help="list: print JSON instead")


def run(args: argparse.Namespace) -> None:
    """Lists data sets, or prepares some."""
    from supermask_jax.data import DATASETS

    for name in args.names:
        if name not in DATASETS:
            raise unknown_name("data set", name, DATASETS)
    if args.action == "list":
        _list(args)
    elif args.names:
        for name in args.names:
            _prepare(name, args)
    else:
        raise UserError(f"prepare which data set? known: {', '.join(sorted(DATASETS))}")


def _list(args: argparse.Namespace) -> None:
    from supermask_jax.data import DATASETS
    from supermask_jax.data.datasets import find_folders
    from supermask_jax.data.reach import reach

    folders = find_folders(args.data_dir, args.cache_dir)
    found = {name: reach(name, folders) for name in args.names or DATASETS}
    if args.json:
        plain = {n: {s: r._asdict() for s, r in of.items()} for n, of in found.items()}
        print(json.dumps(plain, indent=2))
        return
    for name, sources in found.items():
        spec = DATASETS[name]
        shape = " x ".join(map(str, spec.image_shape))
        sizes = f"{spec.train_size:,} train and {spec.test_size:,} test images"
        print(f"{name}: {sizes} of {shape}, {spec.num_classes} classes")
        for source, r in sources.items():
            print(f"  {'+' if r.there else '-'} {source:8}  {r.text}")


def _prepare(name: str, args: argparse.Namespace) -> None:
    from supermask_jax.data import DATASETS, load
    from supermask_jax.data.cache import cache_path
    from supermask_jax.data.datasets import find_folders

    data = load(name, data_dir=args.data_dir, cache_dir=args.cache_dir)
    sizes = f"{len(data.train.labels):,} train and {len(data.test.labels):,} test images"
    print(f"{name}: {sizes} from {data.source}, SHA-256 {data.digest}")
    if "cache" in DATASETS[name].sources:
        path = cache_path(name, find_folders(args.data_dir, args.cache_dir).cache)
        if not path.is_file():  # Loading only warns of that.
            raise UserError(f"{path} could not be written: give another --cache_dir")
        print(f"  ready in {path}")
