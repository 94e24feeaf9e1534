"""The commands of ``supermask``: each a module with ``add_arguments(parser)`` and ``run(args)``.

Importing one imports nothing heavy, so that ``--help`` answers at once: `run` imports what it
needs. ``EPILOG`` is what its help ends with.
"""
