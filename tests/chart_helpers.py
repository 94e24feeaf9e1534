"""What charts hold, read back from their specifications and from a page."""

import csv
import io
import json
import re

from supermask_jax.analysis.charts import theme


def rows_of(spec):
    """The data behind a chart: texts, or numbers where they are."""

    def value(text):
        try:
            return float(text)
        except ValueError:
            return text

    lines = csv.DictReader(io.StringIO(theme.table_of(spec)))
    return [{name: value(text) for name, text in line.items()} for line in lines]


def charts_in(text):
    """Name -> specification of each chart in a report."""
    found = re.findall(
        r'data-name="([^"]+)".*?<script type="application/json">(.*?)</script>', text, re.DOTALL
    )
    return {name: json.loads(spec) for name, spec in found}


def drawn(spec, path):
    """A chart as the SVG of a figure: Vega has taken its specification."""
    theme.save(spec, path)
    return path.read_text()
