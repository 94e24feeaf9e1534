"""``python -m supermask_jax`` is ``supermask``."""

from supermask_jax.cli import script

if __name__ == "__main__":
    script()
