"""Training: optimisers, the train step, the loop, checkpoints and work folders."""
