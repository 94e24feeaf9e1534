"""Search for settings on the validation split: a grid, its runs, and their log."""
