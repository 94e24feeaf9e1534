"""The command lines of the files in ``experiments/``, one module each."""
