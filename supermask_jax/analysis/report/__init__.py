"""The HTML report of runs: one file, without a network, without a library to draw with.

`reading` and `groups` say what there is, `details` is what a checkpoint adds, `page.report` writes.
Charts are SVG made by `chart` and its neighbours; every text passes through `markup`, which
escapes it.
"""
