"""Sets two runs or tickets side by side: ``python experiments/compare.py runs/a runs/b``."""

import sys

from supermask_jax.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
