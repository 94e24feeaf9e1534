"""The process that a command runs in: its streams and logs, and what its environment asks of JAX.

Imports nothing but the standard library: ``supermask --help`` answers at once.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def whole_streams() -> None:
    """Makes stdout and stderr take any text, also where they are closed or know few characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # ``2>&-``. The next file opened must not be descriptor 2.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


# Seconds in which what is under way may answer Ctrl-C by itself: a compilation does not.
_ANSWER_S = 0.7


@contextmanager
def answered_signals() -> Iterator[None]:
    """Answers Ctrl-C and SIGTERM also while XLA compiles, when no Python handler can run.

    The first one says what it waits for, the second one ends the process: as after any kill, what
    was saved is whole.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, tell = socket.socketpair()
    tell.setblocking(False)
    ended, old = threading.Event(), signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)

    def answer() -> None:
        first = True
        while number := told.recv(1):
            if number[0] not in (signal.SIGINT, signal.SIGTERM) or ended.wait(_ANSWER_S):
                continue
            if not first:
                os._exit(128 + number[0])
            first = False
            print("stopping: what is being computed ends first; again: stop now", file=sys.stderr)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(old)
        tell.close()
        thread.join()
        told.close()


def no_backend() -> str:
    """Says that JAX finds none of the devices that the environment asks for, "" where it does."""
    asked = os.environ.get("JAX_PLATFORMS")
    if not asked or "jax" not in sys.modules:
        return ""
    try:
        sys.modules["jax"].devices()
    except (RuntimeError, AssertionError):
        return (
            f"JAX finds no device of JAX_PLATFORMS={asked} here: unset it, or install the JAX that "
            "drives one"
        )
    return ""
