"""Many runs: the rows of the results table, and a search of settings."""
