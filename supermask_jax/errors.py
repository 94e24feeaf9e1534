"""The one exception type for input that a user can mend, and looking up what a user names."""

from __future__ import annotations

import difflib
import inspect
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


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
    names, shown = sorted(known), one_line(repr(name), 60)
    hint = _hint(str(name), names)
    return UserError(f"unknown {kind} {shown}: {hint}known: {', '.join(names)}")


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


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


# Parameters of factories that a config has no entry for, beside the factor on a learning rate.
_FILLED_IN = (
    *("make_tx", "epochs", "steps_per_epoch", "label_fn", "num_classes", "kernel_init"),
    *("conv_general_dilated", "parent", "name"),
)


def options_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """Returns {parameter that a config may set: its default, or None}."""
    return {
        name: None if parameter.default is parameter.empty else parameter.default
        for name, parameter in inspect.signature(factory).parameters.items()
        if name not in _FILLED_IN and parameter.annotation != "Factor"
    }


def make(kind: str, registry: Mapping[str, Callable[..., T]], name: str, /, **options: Any) -> T:
    """Returns `registry[name](**options)`; every misspelt name or option is one clear line.

    Args:
      kind: what the registry holds, for messages ("method", "optimizer").
      registry: name -> factory.
      name: the entry wanted.
      **options: keyword arguments of the factory.

    Raises:
      UserError: the name is unknown, an option is unknown, missing or refused by the factory.
    """
    if not isinstance(name, str) or name not in registry:
        raise unknown_name(kind, name, registry)
    factory = registry[name]
    parameters = inspect.signature(factory).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for option in options:
            if option not in parameters:
                own = options_of(factory)
                known = f"{_hint(option, own)}its options: {', '.join(own) or 'none'}"
                raise UserError(f"{kind} {name!r} has no option {option!r}: {known}")
    for option, value in options.items():
        wanted = getattr(parameters.get(option), "annotation", None)
        if not _fits(value, getattr(wanted, "__name__", wanted)):
            raise UserError(
                f"option {option!r} of {kind} {name!r} must be of type {wanted}, got "
                f"{one_line(repr(value), 60)}"
            )
    try:
        return factory(**options)
    except UserError:  # Of what the factory itself made.
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{kind} {name!r}: {error}") from error


# Annotation -> what is no value of it. What is an array there, or a number of NumPy's, passes.
_NO_NUMBER = (str, bytes, bool, list, tuple, type(None))
_REFUSED = {"float": _NO_NUMBER, "int": (*_NO_NUMBER, float)}


def _fits(value: Any, annotation: Any) -> bool:
    """Says whether a value may be one of a plain annotation; any may be of another."""
    if annotation in ("bool", "str"):
        return isinstance(value, {"bool": bool, "str": str}[annotation])
    entries = annotation in _REFUSED and hasattr(value, "items")  # Also a ConfigDict's.
    return not (entries or isinstance(value, _REFUSED.get(annotation, ())))
