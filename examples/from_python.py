"""A run from Python, and what it leaves: `python from_python.py`."""

import tempfile
from pathlib import Path

# --8<-- [start:run]
import supermask_jax as sm
from supermask_jax import tickets
from supermask_jax.data import load


def small_run(config_path: str, workdir: Path, epochs: int = 60) -> float:
    config = sm.load_config(config_path)
    config.epochs = epochs
    config.method.threshold.value = 0.02
    summary = sm.run(config, workdir, quiet=True)  # goes on if it was stopped
    print(
        f"test accuracy {summary['test_accuracy']:.1%}, of {summary['num_weights']:,} weights "
        f"{summary['remaining_weights']:.1%} remain"
    )

    ticket = tickets.load_ticket(workdir / "ticket.safetensors")  # needs no JAX from here on
    test = load("digits").test
    return tickets.accuracy(ticket, test.images, test.labels)


# --8<-- [end:run]
if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        accuracy = small_run(str(root / "configs" / "quickstart.py"), Path(folder) / "run")
    print(f"the ticket's {accuracy:.1%}")
