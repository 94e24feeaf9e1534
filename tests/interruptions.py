"""A run that dies at its n-th file-system operation, in this process: for tests and `campaign`.

From the n-th operation under a folder on, every one fails, as those of a dead process do: nothing
is cleaned up, and nothing is flushed. What is in C++ (TensorStore) goes on; its unfinished folders
are cut instead.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import gc
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from orbax.checkpoint._src.multihost import multihost

from supermask_jax import experiment
from supermask_jax.training import loop
from supermask_jax.training.trainer import Trainer

_OPERATIONS = ("replace", "rename", "mkdir", "unlink", "rmdir", "fsync", "truncate", "link")


class Killed(BaseException):
    """The process is dead."""


class Disk:
    """Counts operations under `root`, and dies at number `at` (0: never), half-way if `torn`."""

    def __init__(self, root: Path, at: int = 0, *, torn: bool = False) -> None:
        self.root, self.at, self.torn, self.count = str(root), at, torn, 0
        self.where = ""  # what was interrupted
        self._lock = threading.Lock()

    def tick(self, name: str, half: Callable[[], Any] = lambda: None) -> None:
        """Counts an operation; raises where the process dies at it, or is dead."""
        with self._lock:
            self.count += 1
            if not self.at or self.count < self.at:
                return
            if self.count == self.at:
                self.where = name
                if self.torn:
                    half()
        raise Killed(name)

    def inside(self, path: Any) -> bool:
        """Whether a path, or an open file, is under the folder."""
        try:
            found = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else path
            return os.path.abspath(os.fsdecode(found)).startswith(self.root)
        except (OSError, TypeError):
            return False


class _File(io.FileIO):
    """An unbuffered file whose writes are operations."""

    disk: Disk

    def write(self, data: Any) -> int:
        part = bytes(data)[: len(bytes(data)) // 2]
        self.disk.tick(f"write {self.name}", lambda: io.FileIO.write(self, part))
        return super().write(data)


def _open(disk: Disk, real: Callable[..., Any]) -> Callable[..., Any]:
    def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wax+") or not disk.inside(file):
            return real(file, mode, *args, **kwargs)
        disk.tick(f"open {file}")
        raw = _File(os.fspath(file), mode.replace("b", "").replace("t", ""))
        raw.disk = disk
        if "b" in mode:
            return raw
        return io.TextIOWrapper(raw, kwargs.get("encoding") or "utf-8", write_through=True)

    return open_


def _operation(disk: Disk, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def operation(path: Any, *args: Any, **kwargs: Any) -> Any:
        if disk.inside(path) or (kwargs.get("dir_fd") and disk.inside(kwargs["dir_fd"])):
            disk.tick(f"{name} {path}")
        return real(path, *args, **kwargs)

    return operation


@contextlib.contextmanager
def on(disk: Disk) -> Iterator[Disk]:
    """Makes this process's operations those of the disk."""
    real = {name: getattr(os, name) for name in _OPERATIONS}
    opens = (builtins.open, io.open)
    threads = set(threading.enumerate())
    for name, function in real.items():
        setattr(os, name, _operation(disk, name, function))
    builtins.open = io.open = _open(disk, opens[0])
    try:
        yield disk
    finally:
        _settle(threads)
        builtins.open, io.open = opens
        for name, function in real.items():
            setattr(os, name, function)


def _settle(before: set[threading.Thread]) -> None:
    """Lets what still writes in the background end."""
    gc.collect()
    end = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.005)


def interrupt(config: Any, folder: Path, at: int, *, torn: bool = False) -> str:
    """Runs `config` in `folder` until its operation `at`; returns which one that was, "" if none.

    With `torn` a write gets half-way, and half of what Orbax has not committed is cut.
    """
    disk = Disk(folder, at, torn=torn)
    with on(disk), contextlib.suppress(Killed, Exception):
        experiment.run(config, folder, quiet=True)
    if torn and disk.where:
        for path in folder.glob("checkpoints/**/*orbax-checkpoint-tmp*/**/*"):
            if path.is_file():
                os.truncate(path, path.stat().st_size // 2)
    return disk.where


def operations(config: Any, folder: Path) -> int:
    """Runs `config` in `folder` to its end and returns how many operations that takes."""
    with on(Disk(folder)) as disk:
        experiment.run(config, folder, quiet=True)
    gc.collect()
    gc.freeze()  # What is compiled stays: later collections need not look at it.
    return disk.count


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Makes programs of equal configs share what is traced and compiled: runs of milliseconds."""
    names = [(loop, "make_train_steps"), (loop, "make_evaluate")]
    names += [(Trainer, "order"), (Trainer, "like")]

    def shared(function: Callable[..., Any], key: Callable[[Any], Any]) -> Callable[..., Any]:
        made: dict[Any, Any] = {}

        def call(of: Any) -> Any:
            if (place := key(of)) not in made:
                made[place] = function(of)
            return made[place]

        return call

    def parts(trainer: Trainer) -> tuple[Any, ...]:
        # Of equal ones the data are equal too. (The functions that they hold are hashed.)
        held = trainer.apply_fn, trainer.method, trainer.tx
        return *held, trainer.seeds, trainer.in_set, trainer.plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "_parts", shared(experiment._parts, lambda c: c.to_json()))
        for owner, name in names:
            patch.setattr(owner, name, shared(getattr(owner, name), parts))
        # Threads of Orbax wait so long for one that is dead, not five minutes.
        patch.setattr(multihost, "coordination_timeout", lambda: 2)
        yield
