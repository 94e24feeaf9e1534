"""Trains one network: ``python experiments/main.py --config=configs/conv8.py``."""

import sys

from supermask_jax.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
