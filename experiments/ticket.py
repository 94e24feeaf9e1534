"""Works on tickets: ``python experiments/ticket.py verify fcn.safetensors --data=mnist``."""

import sys

from supermask_jax.commands.ticket import main

if __name__ == "__main__":
    sys.exit(main())
