"""Prunes in levels: ``python experiments/lottery.py --config=configs/lottery_fcn.py``."""

import sys

from supermask_jax.commands.lottery import main

if __name__ == "__main__":
    sys.exit(main())
