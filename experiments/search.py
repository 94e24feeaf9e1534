"""Compares settings on the validation split: ``python experiments/search.py --help``."""

import sys

from supermask_jax.commands.search import main

if __name__ == "__main__":
    sys.exit(main())
