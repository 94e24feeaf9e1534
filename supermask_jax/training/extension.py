"""More epochs for a run that has some: whether they give what a longer run from the start gives."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from supermask_jax.errors import UserError
from supermask_jax.training.distributed import is_main, wait_for_all
from supermask_jax.training.memory import lower_step
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.workdir import Workdir

_log = logging.getLogger("supermask_jax")


def epochs_before(
    folder: Workdir, config: Mapping[str, Any], defaults: Mapping[str, Any]
) -> int | None:
    """Returns how many epochs the run in a folder has, if `config` is it with more; else None.

    Args:
      folder: of a run, or none yet.
      config: nested entries, as `Workdir.check` takes them; so is `defaults`.

    Raises:
      UserError: the folder's config cannot be read.
    """
    if not folder.config.exists():
        return None
    had = folder.read_config()["epochs"]
    same = had < config["epochs"] and not folder.differences({**config, "epochs": had}, defaults)
    return had if same else None


def check_longer(
    before: Trainer, now: Trainer, image_shape: tuple[int, ...], schedule: str
) -> None:
    """Checks that the steps a run has taken are those of the longer run, by their programs.

    Raises:
      UserError: the schedule or the method spans the whole run.
    """
    texts = [lower_step(t, image_shape).as_text() for t in (before, now)]
    if texts[0] == texts[1]:
        return
    # Of the two only the method is told the share of the run that is done.
    of_method = lower_step(before._replace(tx=now.tx), image_shape).as_text() != texts[1]
    what = "the method's density" if of_method else f"the schedule {schedule!r}"
    raise UserError(
        f"this run has {before.plan.epochs} epochs, and cannot go on to {now.plan.epochs}: {what} "
        "follows the length of the run, so that a longer one differs from its first steps on: "
        "train it anew in another --workdir"
    )


def reopen(folder: Workdir, epochs: int) -> None:
    """Makes a finished run one that is not, with so many epochs; the caller has locked the folder.

    The summaries go first: killed in between, the run is an unfinished one of as many epochs as it
    had, which is finished or given more by the same commands.
    """
    wait_for_all("extended")
    if is_main():
        config = folder.read_config() | {"epochs": epochs}
        for path in (folder.summary, *folder.path.glob("seeds_*.json")):
            path.unlink(missing_ok=True)
        folder.write_json(folder.config, config)
        _log.info("%s goes on to %d epochs", folder.path, epochs)
    wait_for_all("reopened")
