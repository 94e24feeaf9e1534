"""What the benchmark measures with: clocks, synthetic data, real steps, and fresh processes."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from supermask_jax.data import DATASETS, Dataset, Split
from supermask_jax.data.pipeline import Examples
from supermask_jax.errors import UserError
from supermask_jax.training.loop import make_train_steps
from supermask_jax.training.trainer import Trainer

HERE = Path(__file__).resolve().parent
_MOST, _SINGLE = 100, 3  # steps in a chunk, at most in one dispatch; where each has its own


class Cost(NamedTuple):
    """A span of time in seconds."""

    wall: float
    cpu: float  # of all threads of this process; on an accelerator, what the host spends


Pairs = Sequence[Mapping[str, Cost]]  # what each side took, turn by turn


def timed(action: Callable[[], Any]) -> Cost:
    """Returns what one call of `action` costs; it must wait for the device itself."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def step_seconds(pairs: Pairs, name: str, chunk: int) -> dict[str, float]:
    """Returns the median seconds of a step of one side, by either clock."""
    return {
        f"step_{clock}_seconds": statistics.median(getattr(pair[name], clock) for pair in pairs)
        / chunk
        for clock in Cost._fields
    }


def ratios(pairs: Pairs, name: str, other: str) -> dict[str, Any]:
    """Returns the median over pairs of one side's time over the other's, and the range."""
    found: dict[str, Any] = {}
    for clock in Cost._fields:
        values = [getattr(pair[name], clock) / getattr(pair[other], clock) for pair in pairs]
        found[clock] = statistics.median(values)
        found[f"{clock}_range"] = [min(values), max(values)]
    return found


def peak_bytes(process: int | str = "self") -> int:
    """Returns the peak resident set of a process, by its number, since its program began."""
    # Not `resource`: a process begins there with the peak of the one that launched it.
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def processor() -> str:
    """Returns the processor's model and, where Linux names them, its instructions for bfloat16."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.machine()
    said = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    wide = [flag for flag in said.get("flags", "").split() if "bf16" in flag]
    return ", ".join([said.get("model name", platform.machine()), *wide])


def synthetic_data(name: str, most: int | None = None) -> Dataset:
    """Returns random images and labels of the shapes, dtypes and counts of data set `name`.

    `most` limits the counts.
    """
    spec, rng = DATASETS[name], np.random.default_rng(0)

    def split(size: int) -> Split:
        size = size if most is None else min(size, most)
        images = rng.integers(0, 256, (size, *spec.image_shape), np.uint8)
        return Split(images, rng.integers(0, spec.num_classes, size, np.int32))

    train, test = split(spec.train_size), split(spec.test_size)
    return Dataset(name, train, test, spec.num_classes, "synthetic", "")


class Steps:
    """The train steps of a job and nothing else: no evaluation, no report, no checkpoint."""

    def __init__(self, job: Trainer, examples: Examples) -> None:
        self.state, self.frozen = job.start()
        self._plan, together = job.plan, job.plan.steps_per_call
        self.chunk = min(together, _MOST) if together > 1 else _SINGLE
        self._run, self._data = make_train_steps(job), examples
        self._order = jax.block_until_ready(job.order()(0))
        self._index = 0

    def run(self, count: int) -> None:
        """Takes `count` steps, dispatched as the training loop does it, and waits for the last."""
        while count:
            self._index %= self._plan.steps_per_epoch
            many = min(count, self._plan.steps_per_call, self._plan.steps_per_epoch - self._index)
            # The old state is donated: only the new one may be used from here on.
            place = self._order, self._index, many
            self.state, _ = self._run(self.state, self.frozen, self._data, *place)
            self._index, count = self._index + many, count - many
        jax.block_until_ready(self.state)


def call(function: Callable[..., None], *arguments: Any) -> list[str]:
    """Returns the command of a fresh process that calls a function of a file in this folder."""
    module = Path(function.__code__.co_filename).stem
    paths = [str(HERE), str(HERE.parent)]
    words = f"{function.__name__}({', '.join(map(repr, arguments))})"
    return [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = {paths}; import {module}; {module}.{words}",
    ]


class Process:
    """A fresh process that says things line by line, so that nothing earlier is in its figures."""

    def __init__(self, name: str, command: Sequence[str], **variables: str) -> None:
        # Without the filter the last line of a traceback is that of the exception.
        environment = os.environ | {"JAX_TRACEBACK_FILTERING": "off"} | variables
        self.name, pipe = name, subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
        )

    def line(self) -> str:
        """Returns the next line; raises UserError where the process ended without one."""
        if line := self.process.stdout.readline():
            return line
        errors = self.process.communicate()[1].strip().splitlines()
        reason = errors[-1] if errors else f"status {self.process.returncode}"
        raise UserError(f"the {self.name} process of the benchmark failed: {reason}")

    def ask(self, command: str) -> str:
        """Gives the process a line and returns its answer."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.line()

    def peak_bytes(self) -> int:
        """Returns the peak resident set of the process so far."""
        return peak_bytes(self.process.pid)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.kill()
        self.process.communicate()
