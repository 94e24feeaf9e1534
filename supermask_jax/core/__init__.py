"""Pure functions on arrays and trees: no Flax, no I/O, no configuration."""
