"""The process that a command runs in: its logs, and what its environment asks of JAX.

Imports nothing but the standard library: ``supermask --help`` answers at once.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is by then: a live view stands in for it while it shows."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr


@contextmanager
def plain_output() -> Iterator[None]:
    """Shows our own log lines as they are, and nothing of what other libraries log and print."""
    from absl import logging as absl_logging

    logger = logging.getLogger("supermask_jax")
    old = (threading.excepthook, sys.unraisablehook, absl_logging.get_verbosity(), logger.level)
    logger.handlers, logger.propagate = [_Stderr()], False
    logger.setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # Orbax logs every detail, and every exception that it then raises.
    absl_logging.set_verbosity(absl_logging.FATAL)
    # A failed background save is raised again where it is waited for, and reported there.
    threading.excepthook = lambda args: logger.debug("in %s: %s", args.thread, args.exc_value)
    sys.unraisablehook = lambda args: logger.debug("in %s: %s", args.object, args.exc_value)
    try:
        yield
    finally:
        gc.collect()  # What a failed save left behind complains now, unheard.
        logger.handlers, logger.propagate = [], True
        threading.excepthook, sys.unraisablehook = old[:2]
        absl_logging.set_verbosity(old[2])
        logger.setLevel(old[3])


def no_backend() -> str:
    """Says that JAX finds none of the devices that the environment asks for, "" where it does."""
    try:
        sys.modules["jax"].devices()
    except (RuntimeError, AssertionError):
        asked = os.environ.get("JAX_PLATFORMS")
        return f"JAX finds no device of JAX_PLATFORMS={asked} here: unset it, or install its JAX"
    except KeyError:  # It is not imported.
        pass
    return ""
