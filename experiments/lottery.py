"""Prunes in levels: ``python experiments/lottery.py --config=configs/lottery_fcn.py``."""

import sys

from supermask_jax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["lottery", *sys.argv[1:]]))
