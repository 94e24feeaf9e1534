"""Checkpoints: the only module that knows Orbax.

Layout of a folder: ``steps/<step>/`` holds what is trained, a few of the newest; ``frozen/`` holds
the frozen weights, saved once a run. Both carry the SHA-256 of what was saved, checked on every
restore: a file cut short or changed is never a silent other network. Arrays have a leading axis of
seeds; a single seed's had none in older files, and get it as they are read.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from orbax.checkpoint import args as ocp_args

from supermask_jax.core.trees import digest
from supermask_jax.errors import UserError, one_line
from supermask_jax.training.distributed import is_main, lost_process, wait_for_all, whole

PyTree = Any
T = TypeVar("T")
Restore = Callable[[ocp_args.Composite], Any]

_log = logging.getLogger("supermask_jax")

# What a checkpoint says of its arrays: without it, a single seed's have no axis of seeds.
_FORMAT = {"seed_axis": True}

# A process that died while its part was written holds the others so long, not Orbax's 20 minutes.
_OTHERS_S = 40


class CorruptCheckpoint(Exception):
    """What was read back is not what was saved."""


class Checkpoints:
    """Saves and restores (state, frozen) of one run. Use as a context manager.

    Saves are asynchronous: an error may surface at the next save or on exit, as a UserError.
    """

    def __init__(self, directory: Path, *, max_to_keep: int = 3) -> None:
        self.directory = Path(directory).resolve()  # Orbax takes absolute paths only.
        self._frozen = self.directory / "frozen"
        self._frozen_sha256: str | None = None
        waiting = {"timeout_secs": _OTHERS_S} if jax.process_count() > 1 else {}
        options = ocp.CheckpointManagerOptions(
            max_to_keep=max_to_keep, create=True, async_options=ocp.AsyncOptions(**waiting)
        )
        self._manager = ocp.CheckpointManager(self.directory / "steps", options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: Any) -> None:
        try:
            self._guard(self._manager.wait_until_finished)
        except UserError:
            if kind is None:
                raise  # Otherwise the error under way is the one to report.
        finally:
            with contextlib.suppress(Exception):  # It waits again, and fails again.
                self._manager.close()

    def _guard(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (OSError, ValueError, RuntimeError) as error:
            if lost_process(error):
                raise
            raise UserError(
                f"could not save a checkpoint in {self.directory}: {one_line(error)}; earlier "
                "checkpoints are intact: free some space, then run the same command to go on"
            ) from error

    def start(self, frozen: PyTree) -> None:
        """Saves the frozen weights of a run that has no step saved yet.

        Raises:
          UserError: they could not be saved.
        """
        self._frozen_sha256 = digest(whole(frozen))
        # In a dict of its own: a method without frozen arrays has an empty tree.
        items = _items("frozen", {"tree": frozen}, sha256=self._frozen_sha256)
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            # Forced: a start that was killed may have left them.
            self._guard(lambda: checkpointer.save(self._frozen, args=items, force=True))

    def save(self, step: int, state: PyTree, wait: bool = False) -> None:
        """Starts saving `state` as of `step`, and with `wait` ends it too.

        A step that is there already is left alone.

        Raises:
          UserError: this save, or the one before it, failed.
        """
        if step not in self._manager.all_steps():
            sums = {"sha256": digest(whole(state)), "frozen_sha256": self._frozen_sha256}
            items = _items("state", state, **sums)
            if not self._guard(lambda: self._manager.save(step, args=items)):
                raise UserError(f"Orbax refused to save step {step} in {self.directory}")
        if wait:
            self._guard(self._manager.wait_until_finished)

    def restore(self, like_state: PyTree, like_frozen: PyTree) -> tuple[int, PyTree, PyTree] | None:
        """Returns (step, state, frozen) of the newest checkpoint that is whole; None if none is.

        A broken checkpoint is reported, moved aside to ``broken-<step>``, and the one before it
        taken.

        Args:
          like_state: a state of the wanted structure, shapes, dtypes and shardings.
          like_frozen: the same of the frozen weights.

        Raises:
          UserError: no checkpoint can be read, though there are some; or the frozen weights are
            broken, or not those the state was trained with.
        """
        broken: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, frozen_sha256 = self._restore_step(step, like_state)
            except Exception as error:  # Orbax and tensorstore raise many kinds on broken files.
                if lost_process(error):
                    raise
                told = f"checkpoint of step {step} in {self.directory} is broken"
                if jax.process_count() > 1:  # They must agree, and each reads its own part.
                    raise UserError(
                        f"{told} ({one_line(error)}), and several processes cannot agree on an "
                        "older one: run the same command once in a single process, which goes on "
                        "from the newest checkpoint that is whole"
                    ) from error
                _log.warning("%s (%s): falling back to the one before", told, one_line(error))
                broken.append(step)
                continue
            self._move_aside(broken)
            return step, state, self._restore_frozen(like_frozen, frozen_sha256)
        if broken:
            raise UserError(
                f"none of the checkpoints in {self.directory / 'steps'} can be read, and none was "
                "changed: see the warnings above for the reason (permissions, a full disk, a "
                "damaged file), or start again in another work folder"
            )
        return None

    def _move_aside(self, steps: list[int]) -> None:
        for step in steps if is_main() else ():
            target = self.directory / f"broken-{step}"
            shutil.rmtree(target, ignore_errors=True)
            (self.directory / "steps" / str(step)).rename(target)
        if steps:
            wait_for_all("broken checkpoints moved")
            self._manager.reload()

    def _restore_step(self, step: int, like: PyTree) -> tuple[PyTree, str]:
        def restore(items: ocp_args.Composite) -> Any:
            return self._manager.restore(step, args=items)

        meta = _meta(restore)
        return _read(restore, "state", like, meta, meta["sha256"]), meta["frozen_sha256"]

    def _restore_frozen(self, like: PyTree, sha256: str) -> PyTree:
        def restore(items: ocp_args.Composite) -> Any:
            return checkpointer.restore(self._frozen, args=items)

        try:
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                frozen = _read(restore, "frozen", {"tree": like}, _meta(restore), sha256)
        except Exception as error:
            if lost_process(error):
                raise
            raise UserError(
                f"the frozen weights in {self._frozen} are not those of the run "
                f"({one_line(error)}): it cannot go on; start again in another work folder"
            ) from error
        self._frozen_sha256 = sha256
        return frozen["tree"]


def _items(name: str, tree: PyTree, **meta: Any) -> ocp_args.Composite:
    saved = {name: ocp_args.StandardSave(tree), "meta": ocp_args.JsonSave(meta | _FORMAT)}
    return ocp_args.Composite(**saved)


def _meta(restore: Restore) -> dict[str, Any]:
    return restore(ocp_args.Composite(meta=ocp_args.JsonRestore()))["meta"]


def _read(restore: Restore, name: str, like: PyTree, meta: dict[str, Any], sha256: str) -> PyTree:
    """Reads a tree like `like`, after looking at its digest as it was saved."""
    # Older files of several seeds have the axis, and do not say so.
    axis = "seed_axis" in meta or any(x.shape[:1] != (1,) for x in jax.tree.leaves(like))
    wanted = jax.tree.map(lambda leaf: _abstract(leaf, seed_axis=axis), like)
    items = ocp_args.Composite(**{name: ocp_args.StandardRestore(wanted)})
    tree = restore(items)[name]
    if digest(whole(tree["tree"] if name == "frozen" else tree)) != sha256:
        raise CorruptCheckpoint("its SHA-256 is not the one that was saved")
    if axis:
        return tree
    places = jax.tree.map(lambda leaf: leaf.sharding, like)
    return jax.jit(lambda t: jax.tree.map(lambda x: x[None], t), out_shardings=places)(tree)


def _abstract(leaf: Any, *, seed_axis: bool) -> jax.ShapeDtypeStruct:
    # A concrete sharding: Orbax would otherwise look for the devices the file was written on.
    place = getattr(leaf, "sharding", None) or SingleDeviceSharding(jax.devices()[0])
    if seed_axis:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
    everywhere = NamedSharding(place.mesh, PartitionSpec())
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=everywhere)
