"""Measures speed and memory: ``python experiments/benchmark.py --models=fcn,conv2``."""

import sys

from supermask_jax.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
