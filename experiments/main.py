"""Trains one network: ``python experiments/main.py --config=configs/conv8.py``."""

import sys

from supermask_jax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["train", *sys.argv[1:]]))
