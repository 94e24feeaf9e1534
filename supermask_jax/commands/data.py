"""``supermask data``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from supermask_jax.errors import UserError, unknown_name

EPILOG = """\
Without words, or with list, every data set is listed with its sources in the order in which they
are tried. Nothing is fetched or read for that: the first source with a + would serve, if it is
whole and the network is there. prepare loads a data set by the route of a training run, which
checks it and writes the cache. inspect reads a data set, also one of your own (npz:FILE,
folder:PLACE, idx:PLACE, tfds:NAME, hf:PLACE), and prints what a run would see.

  supermask data prepare cifar10
  supermask data inspect folder:~/flowers --image_size=64 --sheet=flowers.png
"""
EXAMPLES = ("data list", "data prepare mnist --cache_dir=cache")

_DATA_DIR = "(default: TFDS_DATA_DIR, else ~/tensorflow_datasets)"
_IMAGE_SIZE = "inspect: resize and crop images of your own to N x N"
_CACHE_DIR = "(default: SUPERMASK_CACHE, else ~/.cache/supermask_jax)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    actions = ("list", "prepare", "inspect")
    add("action", nargs="?", default="list", choices=actions, help="default: list")
    add("names", nargs="*", metavar="NAME", help="data sets, e.g. mnist; list: default: all")
    add("--data_dir", metavar="FOLDER", help=f"prepared TFDS data sets and archives {_DATA_DIR}")
    add("--cache_dir", metavar="FOLDER", help=f"our cache {_CACHE_DIR}")
    add("--json", action="store_true", help="list, inspect: print JSON instead")
    add("--image_size", type=int, default=0, metavar="N", help=_IMAGE_SIZE)
    add("--sheet", type=Path, metavar="FILE.png", help="inspect: write some images of each class")


def run(args: argparse.Namespace) -> None:
    """Lists data sets, or prepares some."""
    from supermask_jax.data import DATASETS
    from supermask_jax.data.datasets import check_name

    for name in args.names:
        if args.action == "inspect":
            check_name(name)
        elif name not in DATASETS:
            raise unknown_name("data set", name, DATASETS)
    if args.action == "list":
        _list(args)
    elif not args.names:
        raise UserError(f"{args.action} which data set? known: {', '.join(sorted(DATASETS))}")
    for name in args.names if args.action != "list" else ():
        {"prepare": _prepare, "inspect": _inspect}[args.action](name, args)


def _inspect(name: str, args: argparse.Namespace) -> None:
    import numpy as np

    from supermask_jax.data import load, spec_of
    from supermask_jax.training.waiting import waiting

    section = {"name": name, "image_size": args.image_size, "data_dir": args.data_dir or ""}
    folders = {"data_dir": args.data_dir, "cache_dir": args.cache_dir}
    with waiting(f"reading {name}"):
        data, spec = load(name, **folders, image_size=args.image_size), spec_of(section)
    counts = np.bincount(data.train.labels, minlength=data.num_classes)
    found = {
        "images": list(spec.image_shape),
        "train": len(data.train.labels),
        "test": len(data.test.labels),
        "classes": data.num_classes,
        "train images a class": [int(counts.min()), int(counts.max())],
        "mean": [round(value, 4) for value in spec.mean],
        "deviation": [round(value, 4) for value in spec.std],
        "sha256": data.digest,
    }
    if args.json:
        print(json.dumps({name: found}, indent=2))
    else:
        print(name, *(f"  {key:20}  {value}" for key, value in found.items()), sep="\n")
    if args.sheet is not None:
        from supermask_jax.data.images import contact_sheet

        contact_sheet(args.sheet, data.train.images, data.train.labels)


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
    from supermask_jax.training.waiting import waiting

    with waiting(f"preparing {name}"):
        data = load(name, data_dir=args.data_dir, cache_dir=args.cache_dir)
    sizes = f"{len(data.train.labels):,} train and {len(data.test.labels):,} test images"
    print(f"{name}: {sizes} from {data.source}, SHA-256 {data.digest}")
    if "cache" in DATASETS[name].sources:
        path = cache_path(name, find_folders(args.data_dir, args.cache_dir).cache)
        if not path.is_file():  # Loading only warns of that.
            raise UserError(f"{path} could not be written: give another --cache_dir")
        print(f"  ready in {path}")
