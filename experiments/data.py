"""Says which data sets are in reach: ``python experiments/data.py``."""

import sys

from supermask_jax.commands.data import main

if __name__ == "__main__":
    sys.exit(main())
