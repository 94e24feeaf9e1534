"""``python -m supermask_jax`` is ``supermask``."""

import sys

from supermask_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
