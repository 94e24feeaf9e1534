"""Shared by the tests: tree assertions, a tiny run, and the command line as a subprocess."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from supermask_jax import cli, experiment
from supermask_jax.config import default_config
from supermask_jax.errors import UserError
from supermask_jax.training import distributed, loop
from supermask_jax.training.workdir import Workdir

ROOT = Path(__file__).resolve().parent.parent


def assert_trees_equal(a: Any, b: Any) -> None:
    """Asserts the same structure, dtypes and bits; typed keys compare by their data."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def assert_trees_close(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Asserts the same structure, and values within tolerance."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=rtol, atol=atol)


def tiny_config(**entries: Any) -> ConfigDict:
    """A run of a small FCN on the embedded digits: three epochs of twelve steps."""
    config = default_config()
    config.name = "tiny"
    config.epochs = 3
    config.data.name = "digits"
    config.model.width = 0.1
    config.update_from_flattened_dict(entries)
    return config


def left(path: Path) -> tuple[Any, ...]:
    """What a run leaves but for its times: summary, lines by seed and epoch, masks."""
    folder = Workdir(path)
    summary, lines = folder.finished_summary(), folder.read_metrics()
    for entry in (summary, *summary.get("runs", ()), *lines):
        entry.pop("seconds", None)
    lines.sort(key=lambda line: (line["seed"], line["epoch"]))
    masks = {p.name: dict(np.load(p)) for p in sorted(folder.path.glob("masks*.npz"))}
    return summary, lines, jax.tree.map(np.ndarray.tolist, masks)


def main_command(*argv: str) -> list[str]:
    """The command line of `experiments/main.py`."""
    return [sys.executable, str(ROOT / "experiments" / "main.py"), *argv]


def tiny_argv(*more: str) -> list[str]:
    """Arguments of the tiny run on the quick-start config."""
    return [
        f"--config={ROOT / 'configs' / 'quickstart.py'}",
        "--config.model.width=0.1",
        "--config.epochs=3",
        *more,
    ]


def run_main(*argv: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Runs `experiments/main.py` as a process of its own."""
    return run_command(main_command(*argv), **kwargs)


def run_command(command: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command in `single_threaded`, and returns what it said."""
    options = {"capture_output": True, "text": True, "timeout": 120, "env": single_threaded()}
    return subprocess.run(command, **options | kwargs)


def said_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a process said on stderr, without the lines that tell what a slow machine waits for."""
    return [line for line in done.stderr.splitlines() if not line.endswith(" ...")]


def start_command(command: list[str], **environment: str) -> subprocess.Popen[str]:
    """Starts a command in `single_threaded` and further variables, with pipes to read from."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=single_threaded() | environment, **pipes)


def assert_refused(
    cases: Iterable[tuple[str, Callable[[], Any]]], kind: type[Exception] = UserError
) -> None:
    """Asserts of (message, call) that each call raises the message, a regex, in one line."""
    for message, call in cases:
        with pytest.raises(kind, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Gives a command that must fail with one line; returns it."""
    assert cli.main(list(argv)) == 1
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("error: ") and out == ""
    return line


def single_threaded() -> dict[str, str]:
    """The environment of a child whose results are stable bit for bit: one thread, one device."""
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
        "JAX_NUM_CPU_DEVICES": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }


def stop_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Stops the loop after some calls of `Progress.step`, as a signal would."""
    stop, made = distributed.StopSignal(), itertools.count(1)

    def step(*unused: Any) -> None:
        if next(made) == calls:
            stop.signum = signal.SIGTERM

    monkeypatch.setattr(loop, "StopSignal", lambda: stop)
    monkeypatch.setattr(loop.Progress, "step", step)


def stopped_run(
    config: ConfigDict, path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> Workdir:
    """Leaves a run that was stopped after some calls of `Progress.step`; undoes all patches."""
    stop_after(monkeypatch, calls)
    with pytest.raises(loop.Interrupted):
        experiment.run(config, path, quiet=True)
    monkeypatch.undo()
    return Workdir(path)


def interrupted_run(path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int = 3) -> Workdir:
    """Leaves a run stopped in its last epoch: `epochs - 1` lines and checkpoints."""
    return stopped_run(tiny_config(epochs=epochs + 1), path, monkeypatch, epochs)
