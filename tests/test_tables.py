"""One table as text and as Markdown."""

from supermask_jax.analysis.intervals import mean_interval
from supermask_jax.analysis.tables import Table

TABLE = Table(
    ("name", "test %", "n"),
    [("[b]fcn[/b]", mean_interval([0.5, 0.6]), 10), ("x" * 120, mean_interval([0.25]), 1)],
    ("all", "-", 9),
)


def test_text_is_in_columns_and_numbers_are_to_the_right():
    head, first, second, foot = TABLE.text().splitlines()
    assert first.split() == ["[b]fcn[/b]", "55.00", "[-8.53,", "118.53]", "10"]  # No markup.
    end = first.index("118.53]") + len("118.53]")
    last = [line[:end].rsplit(maxsplit=1)[-1] for line in (head, second, foot)]
    assert last == ["%", "25.00", "-"]
    assert head.startswith("name ") and second.startswith("x" * 120 + "  ")
    assert len(first) == len(second) == len(foot)  # All end with the column of n.


def test_markdown_has_a_line_a_row():
    lines = TABLE._replace(foot=()).markdown().splitlines()
    assert lines[:2] == ["| name | test % | n |", "| --- | --- | --- |"]
    assert lines[2] == "| [b]fcn[/b] | 55.00 [-8.53, 118.53] | 10 |" and len(lines) == 4
