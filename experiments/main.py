"""Trains one network: ``python experiments/main.py --config=configs/conv8.py``."""

import sys

from supermask_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
