"""Writes one HTML file about runs: ``python experiments/report.py runs/fcn-s0``."""

import sys
from pathlib import Path

from rows import ROWS

from supermask_jax.commands.checkout import Checkout
from supermask_jax.commands.report import main

if __name__ == "__main__":
    sys.exit(main(checkout=Checkout(Path(__file__).resolve().parent.parent, ROWS)))
