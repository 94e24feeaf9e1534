"""Makes docstrings Markdown: equations become `$...$`, literal blocks plain, examples a section."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_INLINE = re.compile(r":math:`([^`]*)`")
_BLOCK = re.compile(r"^( *)\.\. math::(?P<first>.*)\n(?P<rest>(?:(?:\1 +.*)?\n)*)", re.MULTILINE)
_LITERAL = re.compile(r"::(?=\n\n +)")
_EXAMPLES = re.compile(r"^>>> .*", re.MULTILINE | re.DOTALL)  # They come last.


def _display(found: re.Match[str]) -> str:
    indent = found[1]
    lines = [found["first"], *found["rest"].splitlines()]
    tex = " ".join(line.strip() for line in lines if line.strip())
    return f"\n{indent}$$\n{indent}{tex}\n{indent}$$\n\n"


def to_markdown(text: str) -> str:
    """Returns the text of a docstring as Markdown."""
    text = _EXAMPLES.sub(lambda found: f"Examples:\n{textwrap.indent(found[0], '    ')}", text)
    text = _BLOCK.sub(_display, f"{text}\n")
    return _LITERAL.sub(":", _INLINE.sub(r"$\1$", text)).rstrip()


class SphinxMath(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_object(self, *, obj: griffe.Object, **unused: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
