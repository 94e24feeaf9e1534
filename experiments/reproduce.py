"""Runs rows of the results table: ``python experiments/reproduce.py --rows=fcn-published``."""

import sys

from supermask_jax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["reproduce", *sys.argv[1:]]))
