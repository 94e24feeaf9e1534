"""Makes tickets: ``python experiments/export.py --workdir=runs/fcn --out=fcn.safetensors``."""

import sys

from supermask_jax.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
