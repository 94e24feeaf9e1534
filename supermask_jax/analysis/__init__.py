"""Numbers about runs: intervals, result files, tables."""
