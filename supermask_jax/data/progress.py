"""How far a long read is, for whoever shows it: see `training.waiting`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Tell = Callable[[str, int, int], None]  # what is counted, how many are done, and of how many

_TELL: ContextVar[Tell | None] = ContextVar("tell", default=None)


@contextmanager
def telling(tell: Tell) -> Iterator[None]:
    """Makes what is counted within known to `tell`."""
    token = _TELL.set(tell)
    try:
        yield
    finally:
        _TELL.reset(token)


def counted(items: Iterable[T], what: str, total: int, size: int | None = None) -> Iterator[T]:
    """Yields the items, and tells how many there were.

    Args:
      items: of a read.
      what: e.g. "train images".
      total: how many there will be.
      size: their bytes, if known.
    """
    tell = _TELL.get() or (lambda what, done, total: None)
    what = what if size is None else f"{what}, {size / 1e6:,.1f} MB"
    tell(what, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        tell(what, done, total)
