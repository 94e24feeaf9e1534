"""Measurements that want a process of their own: starts, and peaks of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import supermask_jax
from supermask_jax.benchmark.timing import now
from supermask_jax.errors import UserError


class Answer(NamedTuple):
    """Of a process."""

    line: str  # the first one it printed
    seconds: float  # from its launch to that line


def in_fresh_process(code: str, *arguments: str, **variables: str) -> Answer:
    """Runs Python code in a fresh process, with more environment variables.

    Raises:
      UserError: it failed.
    """
    root = str(Path(supermask_jax.__file__).parent.parent)
    # Without the filter the last line of a traceback is that of the exception.
    environment = {"JAX_TRACEBACK_FILTERING": "off", **variables}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    started = now()
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | environment,
    ) as process:  # fmt: skip
        line = process.stdout.readline()
        seconds = now().since(started).wall
        _, errors = process.communicate()
    if process.returncode:
        reason = (errors.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"a benchmark process ended with status {process.returncode}: {reason}")
    return Answer(line.strip(), seconds)
