"""The HTML report of runs: one file that needs no network.

`reading` says what there is, `details` is what a checkpoint adds, `page.report` fills the template
``report.html``, which escapes every text. Charts are those of `analysis.charts`.
"""
