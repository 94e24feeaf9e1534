"""The one exception type for input that a user can mend."""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """Bad input. Its message is one line that says what was found and what to change.

    The commands print the message alone and exit with a non-zero status.
    """


class Diverged(UserError):
    """Training met what is not finite: the settings are at fault, and they were possible."""


class Interrupted(KeyboardInterrupt):
    """SIGTERM or Ctrl-C arrived; what was trained so far is saved."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.signum = signum


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with its ``~`` replaced by the home folder.

    Raises:
      UserError: there is no such home, or the path holds a NUL character.
    """
    if "\0" in os.fspath(path):
        raise UserError(f"a path holds no NUL character, got {os.fspath(path)!r}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"there is no home folder for {path}: set HOME, or give a path") from error


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Returns the error for a `name` that is not among the `known` ones, with the nearest first."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = one_line(repr(name), 60)
    return UserError(f"unknown {kind} {shown}: {hint}known: {', '.join(names)}")


@contextmanager
def about(what: str) -> Iterator[None]:
    """Puts `what`, such as the name of a leaf, before the message of an error from within."""
    try:
        yield
    except (UserError, ValueError) as error:
        kind = UserError if isinstance(error, UserError) else ValueError
        raise kind(f"{what}: {error}") from error


def one_line(error: BaseException | str, limit: int = 200) -> str:
    """Returns the message of `error` on one line of at most `limit` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
