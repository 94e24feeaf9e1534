"""Checkpoints: the only module that knows Orbax.

Layout of a folder: ``steps/<step>/`` holds what is trained, a few of the newest; ``frozen/`` holds
the frozen weights, saved once a run. Both carry the SHA-256 of what was saved, checked on every
restore: a file cut short or changed is never a silent other network.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import args as ocp_args

from supermask_jax.core.trees import digest
from supermask_jax.errors import UserError

PyTree = Any
T = TypeVar("T")

_log = logging.getLogger("supermask_jax")


class CorruptCheckpoint(Exception):
    """What was read back is not what was saved."""


def _abstract(tree: PyTree) -> PyTree:
    def struct(leaf: Any) -> jax.ShapeDtypeStruct:
        # A concrete sharding: Orbax would otherwise look for the devices the file was written on.
        sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(
            jax.devices()[0]
        )
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(struct, tree)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


class Checkpoints:
    """Saves and restores (state, frozen) of one run. Use as a context manager.

    Saves are asynchronous: an error may surface at the next save or on exit, as a UserError.
    """

    def __init__(self, directory: Path, *, max_to_keep: int = 3) -> None:
        self.directory = Path(directory).resolve()  # Orbax takes absolute paths only.
        self._frozen = self.directory / "frozen"
        self._manager = ocp.CheckpointManager(
            self.directory / "steps",
            options=ocp.CheckpointManagerOptions(max_to_keep=max_to_keep, create=True),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: Any) -> None:
        try:
            self._guard(self._manager.wait_until_finished)
        except UserError:
            if kind is None:
                raise  # Otherwise the error under way is the one to report.
        finally:
            self._manager.close()

    def _guard(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"could not save a checkpoint in {self.directory}: {_one_line(error)}; earlier "
                "checkpoints are intact: free some space, then run the same command to go on"
            ) from error

    def save(self, step: int, state: PyTree) -> None:
        """Starts saving `state` as of `step`; a step that is there already is left alone.

        Raises:
          UserError: this save, or the one before it, failed.
        """
        if step in self._manager.all_steps():
            return
        items = ocp_args.Composite(
            state=ocp_args.StandardSave(state), meta=ocp_args.JsonSave({"sha256": digest(state)})
        )
        if not self._guard(lambda: self._manager.save(step, args=items)):
            raise UserError(f"Orbax refused to save step {step} in {self.directory}")

    def restore_latest(self, like: PyTree) -> tuple[int, PyTree] | None:
        """Returns (step, state) of the newest checkpoint that is whole; None if there is none.

        A broken checkpoint is reported, removed, and the one before it taken.

        Args:
          like: a state of the wanted structure, shapes, dtypes and shardings.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return step, self._restore(step, like)
            except Exception as error:  # Orbax and tensorstore raise many kinds on broken files.
                _log.warning(
                    "checkpoint of step %d in %s is broken (%s): falling back to the one before",
                    step, self.directory, _one_line(error),
                )  # fmt: skip
                shutil.rmtree(self.directory / "steps" / str(step), ignore_errors=True)
                self._manager.reload()
        return None

    def _restore(self, step: int, like: PyTree) -> PyTree:
        items = self._manager.restore(
            step,
            args=ocp_args.Composite(
                state=ocp_args.StandardRestore(_abstract(like)), meta=ocp_args.JsonRestore()
            ),
        )
        if digest(items["state"]) != items["meta"]["sha256"]:
            raise CorruptCheckpoint("its SHA-256 is not the one saved with it")
        return items["state"]

    def save_frozen(self, frozen: PyTree) -> str:
        """Saves the frozen weights unless they are there; returns their SHA-256."""
        found = digest(frozen)
        if not self._frozen.exists():
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                items = ocp_args.Composite(
                    frozen=ocp_args.StandardSave({"tree": frozen}),
                    meta=ocp_args.JsonSave({"sha256": found}),
                )
                self._guard(lambda: checkpointer.save(self._frozen, args=items))
        return found

    def restore_frozen(self, like: PyTree) -> PyTree:
        """Returns the frozen weights of the run.

        Raises:
          UserError: they are missing, unreadable, or not those that were saved.
        """
        try:
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                items = checkpointer.restore(
                    self._frozen,
                    args=ocp_args.Composite(
                        frozen=ocp_args.StandardRestore(_abstract({"tree": like})),
                        meta=ocp_args.JsonRestore(),
                    ),
                )
            frozen = items["frozen"]["tree"]
            if digest(frozen) != items["meta"]["sha256"]:
                raise CorruptCheckpoint("their SHA-256 is not the one saved with them")
        except Exception as error:
            raise UserError(
                f"the frozen weights in {self._frozen} cannot be restored ({_one_line(error)}): "
                "the run cannot go on; start again in another work folder"
            ) from error
        return frozen
