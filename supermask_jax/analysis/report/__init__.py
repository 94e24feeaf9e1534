"""The HTML report of runs: one file that needs no network.

`groups` puts runs together, `details` is what a checkpoint adds, `page` fills the template
``report.html``, which holds the words and escapes every text. Charts are those of
`analysis.charts`.
"""
