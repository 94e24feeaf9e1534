"""Runs rows of the results table: ``python experiments/reproduce.py --rows=fcn-published``."""

import sys
from pathlib import Path

from rows import ROWS

from supermask_jax.commands.checkout import Checkout
from supermask_jax.commands.reproduce import main

if __name__ == "__main__":
    sys.exit(main(checkout=Checkout(Path(__file__).resolve().parent.parent, ROWS)))
