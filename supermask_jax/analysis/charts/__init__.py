"""Charts: one Vega-Lite specification each, for the report, the docs and a paper alike.

A specification holds its data as CSV, and names colours as ``@name``: `theme.paint` looks them up
in a palette, so that one specification is drawn light and dark.
"""
