"""Trains on arrays of one's own: ``python examples/own_data.py``."""

import tempfile

# --8<-- [start:run]
import numpy as np

from supermask_jax import data, experiment
from supermask_jax.config.files import load_config

rng = np.random.default_rng(0)
labels = np.arange(600) % 3
images = rng.integers(0, 100, (600, 8, 8, 1))
images[np.arange(600), labels] += 150  # A bright row, whose place is the class.
mine = data.from_arrays(images[:500], labels[:500], images[500:], labels[500:])
config = load_config("quickstart")
config.epochs = 5


def train(workdir: str) -> float:
    """Returns the accuracy on the test images, in [0, 1]."""
    summary = experiment.run(config, workdir, data=mine)
    return summary["test_accuracy"]


# --8<-- [end:run]

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(f"{train(folder):.2%}")
