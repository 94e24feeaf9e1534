"""HTML and SVG as text: elements whose texts and attributes are always escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any


class Markup(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


# Elements that have no end tag in HTML.
_VOID = frozenset(("br", "col", "hr", "img", "meta"))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Returns an element.

    Args:
      name: of the element.
      *children: `Markup` as it is; any other text escaped; lists of these; None is left out.
      **attributes: escaped; None is left out. ``class_`` and ``data_x`` mean class and data-x;
        floats are written to two decimals.
    """
    words = [name] + [
        f'{key.rstrip("_").replace("_", "-")}="{html.escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    if name in _VOID:
        return Markup(f"<{' '.join(words)}>")
    return Markup(f"<{' '.join(words)}>{join(*children)}</{name}>")


def join(*children: Any) -> Markup:
    """Returns children of `tag` one after another."""
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, Iterable) and not isinstance(child, str):
            parts.append(join(*child))
        elif child is not None:
            parts.append(html.escape(str(child)))
    return Markup("".join(parts))


def _value(value: Any) -> str:
    return short(value) if isinstance(value, float) else str(value)


def short(number: float, digits: int = 2) -> str:
    """Returns a number with at most `digits` decimals: ``1.5``, ``3``, never ``-0``."""
    text = f"{number:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def significant(number: float, digits: int = 3) -> str:
    """Returns a number to `digits` significant ones, without exponent where it is readable."""
    if number == 0 or not math.isfinite(number):
        return "0" if number == 0 else str(number)
    if not 1e-4 <= abs(number) < 1e6:
        return f"{number:.{digits - 1}e}"
    return short(number, max(digits - 1 - math.floor(math.log10(abs(number))), 0))


def points(xs: Iterable[float], ys: Iterable[float]) -> str:
    """Returns ``x,y x,y ...`` for a polyline."""
    return " ".join(f"{short(x, 1)},{short(y, 1)}" for x, y in zip(xs, ys, strict=True))
