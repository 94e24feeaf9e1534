"""Shows a run or a ticket layer by layer: ``python experiments/inspect_masks.py runs/fcn``."""

import sys

from supermask_jax.commands.inspect import main

if __name__ == "__main__":
    sys.exit(main())
