"""Measures a run or a ticket: ``python experiments/evaluate.py runs/fcn``."""

import sys

from supermask_jax.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
