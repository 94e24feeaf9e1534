"""Turns equations into MathML, which browsers draw by themselves: no script, font or network."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_MARKED = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\s*\\[(\[](?P<tex>.*?)\\[)\]]\s*</(?P=tag)>', re.DOTALL
)


def to_mathml(tex: str, display: str) -> str:
    """Returns LaTeX as MathML; `&` and line breaks are those of an aligned environment."""
    if "&" in tex and r"\begin" not in tex:
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    return convert(tex.strip(), display=display)


def on_page_content(content: str, **unused: Any) -> str:
    """Replaces what arithmatex has marked."""
    return _MARKED.sub(
        lambda found: to_mathml(
            html.unescape(found["tex"]), "inline" if found["tag"] == "span" else "block"
        ),
        content,
    )
