"""The commands of ``supermask``: what they are, and what their exit status says.

Imports nothing: ``supermask --help`` answers at once.
"""

# Command -> what it does. Each is the module of its name in this package, with a `main(argv)`.
COMMANDS = {
    "train": "train one network, or one for each of some seeds",
    "lottery": "train, prune and train again in levels, over a grid of ways to prune",
    "search": "compare settings on the validation split",
    "evaluate": "measure the accuracy of a run or a ticket",
    "inspect": "show a run or a ticket layer by layer: signs, flips, dead units",
    "compare": "set two runs or tickets side by side, and their masks against chance",
    "export": "make tickets of runs, and StableHLO, ONNX and PyTorch files of tickets",
    "ticket": "verify, inspect, size and compare tickets, without JAX",
    "report": "write a run as a page: curves, masks, layers",
    "front": "draw accuracy against remaining weights",
    "reproduce": "run rows of the results table",
    "data": "say which sources of data sets are in reach, and prepare one",
    "completion": "print the completion script of a shell",
}

EXIT_STATUS = """\
exit status: 0 done, or already done; 1 bad input, or it failed (data, disk, divergence), with one \
line on stderr that says what to change; 128 + n stopped by signal n (Ctrl-C: 130), with the work \
saved.
"""
