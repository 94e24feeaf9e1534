"""Several processes as one run: joining them, what only one does, and the signal to stop."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from supermask_jax.errors import Diverged, Interrupted, UserError, one_line

_log = logging.getLogger("supermask_jax")

# A process that dies is noticed after at most so long, and one that ends waits so long for others.
_HEARTBEAT_S, _SHUTDOWN_S = 30, 10


def join() -> None:
    """Joins the other processes of a job, before JAX is used for anything else.

    The scheduler says who they are: Slurm, Open MPI, Kubernetes (GKE) and Cloud TPU are recognised
    by JAX itself. Elsewhere the environment does: JAX_COORDINATOR_ADDRESS (host:port of process 0),
    JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Raises:
      UserError: nothing says who the others are, or they cannot be reached.
    """
    if jax.distributed.is_initialized():
        return
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        # Between CPUs the loss of a process is an error that can be caught, and told in one line.
        # Accelerators would wait for it for ever: there JAX ends the process after the heartbeat.
        jax.config.update("jax_enable_recoverability", True)
    names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    try:
        count, index = (int(os.environ[name]) if name in os.environ else None for name in names)
        jax.distributed.initialize(
            num_processes=count,
            process_id=index,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            shutdown_timeout_seconds=_SHUTDOWN_S,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"cannot join the other processes ({one_line(error)}): start under Slurm, Open MPI, "
            "GKE or on a TPU pod, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
            "JAX_PROCESS_ID"
        ) from error


@contextlib.contextmanager
def together(several: bool = True) -> Iterator[None]:
    """Joins the other processes, where there are `several`, and leaves with them.

    All but the first one are kept quiet; when another one is gone, one line says so.

    Raises:
      UserError: as `join`; a collective operation failed, as it does when a process has died.
    """
    if not several:
        yield
        return
    join()
    if not is_main():
        _log.setLevel(logging.WARNING)
    try:
        try:
            yield
        except (Diverged, Interrupted):  # All have met it at one step.
            _leave()
            raise
        _leave()
    except Exception as error:
        if not lost_process(error):
            raise
        raise UserError(
            f"process {jax.process_index()} lost another one ({one_line(error)[:200]}): what was "
            "trained up to the last checkpoint is saved; start all processes again to go on"
        ) from error


def _leave() -> None:
    """Ends the connections of a job: the first process holds those of the others, and goes last."""
    if not jax.distributed.is_initialized():
        return
    wait_for_all("done")
    if jax.config.jax_enable_recoverability:  # Else the shutdown itself waits for all.
        if not is_main():
            jax.distributed.shutdown()
        wait_for_all("left")
    jax.distributed.shutdown()


def lost_process(error: Exception) -> bool:
    """Says whether an operation failed because another process is gone."""
    text = str(error)
    # Orbax times out where the others' parts of a checkpoint do not come.
    kinds = (jax.errors.JaxRuntimeError, TimeoutError)
    broken = isinstance(error, kinds) or "Gloo" in text
    own_fault = text.startswith(("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"))
    return broken and not own_fault and jax.process_count() > 1


def is_main() -> bool:
    """Says whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def whole(tree: Any) -> Any:
    """Returns a tree of arrays that this process can read whole; every process must ask."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return leaf
        return _gather(leaf.sharding.mesh)(leaf)

    return jax.tree.map(one, tree)


@functools.cache
def _gather(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))


def least(number: int) -> int:
    """Returns the smallest `number` among the processes; every process must ask."""
    return int(np.min(_of_all(number)))


def in_any(flag: bool) -> bool:
    """Says whether `flag` is true in any process; every process must ask at the same point."""
    return bool(np.any(_of_all(flag)))


def _of_all(value: int | bool) -> np.ndarray:
    several = jax.process_count() > 1
    return multihost_utils.process_allgather(np.array(value)) if several else np.array(value)


class StopSignal:
    """Notes the first SIGTERM or SIGINT while active; a second one acts at once."""

    signum: int | None = None

    def wanted(self) -> bool:
        """Says whether to stop: in several processes, as soon as one of them is told to."""
        if in_any(self.signum is not None):
            self.signum = self.signum or signal.SIGTERM
        return self.signum is not None

    @contextlib.contextmanager
    def active(self) -> Iterator[StopSignal]:
        """Installs the handlers; does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def note(signum: int, frame: Any) -> None:
            self.signum = signum
            for number, handler in old.items():
                signal.signal(number, handler)

        for number in old:
            signal.signal(number, note)
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
