"""``supermask completion``."""

from __future__ import annotations

import argparse

EPILOG = """\
For the running shell: source <(supermask completion bash), likewise zsh; fish: supermask completion
fish | source. To keep it, write it where your shell looks for such scripts: its first lines say so.

Values are completed after a space: --config conv8, --config.epochs 3.
"""
EXAMPLES = ("completion bash", "completion fish")


# Those of shtab, which --help does without.
SHELLS = ("bash", "zsh", "tcsh", "fish", "powershell")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("shell", choices=SHELLS, help="for which it is")


def run(args: argparse.Namespace) -> None:
    """Prints the script, made of the parser of all commands and the entries of configs."""
    import shtab

    from supermask_jax.config import default_config, lottery
    from supermask_jax.run_files import flat

    root = args.parser()
    for name, command in root.commands.items():
        for action in command._actions:
            if not action.choices and action.nargs != 0:
                action.complete = shtab.FILE
        if command.get_default("overrides") is not None:
            config = default_config()
            if name == "lottery":
                config.lottery = lottery()
            for entry, value in flat(config.to_dict()).items():
                choices = ("true", "false") if isinstance(value, bool) else None
                text = f"default: {value}".replace("%", "%%")
                command.add_argument(f"--config.{entry}", choices=choices, help=text)
    print(shtab.complete(root, args.shell))
