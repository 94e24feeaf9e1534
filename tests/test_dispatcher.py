"""The console script: every command is reached, names itself, and starts fast."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

from supermask_jax import cli
from supermask_jax.cli import COMMANDS
from supermask_jax.config.files import load_with_overrides


def helped(capsys, *argv):
    """What is printed in place of running a command."""
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert not stop.value.code
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_all_its_flags_and_the_exit_status(name, capsys):
    said = helped(capsys, name, "--help")
    assert said.startswith(f"usage: supermask {name} ")
    assert COMMANDS[name][1:] in said
    assert "128 + n stopped by signal n" in said
    for action in cli.parser(name).commands[name]._actions:
        assert action.help, f"{name}: {action.dest} is not explained"
        assert all(flag in said for flag in action.option_strings)


def test_no_command_and_help_list_the_commands(capsys):
    said = helped(capsys)
    assert said == helped(capsys, "--help")
    for name, what in COMMANDS.items():
        assert f" {name} {what}" in said
    assert "exit status: 0 done" in said
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("supermask-jax")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], "unknown command 'trian': did you mean 'train'?"),
        (["--verison"], "unknown flag '--verison'"),
        (["train"], "which config? give e.g. supermask train conv8; see supermask train --help"),
        (["evaluate"], "see supermask evaluate --help"),
        (["data", "lst"], "invalid choice: 'lst'"),
        (["data", "--lst"], "unrecognized arguments: --lst; see supermask data --help"),
    ],
)
def test_bad_input_is_one_line(argv, words, capsys):
    assert cli.main(argv) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_stopped_while_a_command_is_imported(monkeypatch, capsys):
    def stop(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", stop)
    assert cli.main(["train"]) == 130
    assert capsys.readouterr().err == "stopped\n"


HEAVY = ("numpy", "absl", "ml_collections", "jax")


@pytest.mark.parametrize(
    ("call", "absent"),
    [
        ("main(['--help'])", HEAVY),
        ("parser()", HEAVY),  # The arguments of every command.
        ("main(['data'])", ("jax", "tensorflow_datasets", "sklearn")),
    ],
)
def test_what_needs_nothing_heavy_imports_none(call, absent):
    code = (
        "import sys\nfrom supermask_jax.cli import main, parser\n"
        f"try:\n    {call}\nexcept SystemExit:\n    pass\n"
        f"print('heavy', [m for m in {absent!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "heavy []", done.stderr


def test_no_command_imports_anything_heavy_for_its_arguments():
    code = (
        "import sys\nfrom supermask_jax import cli\ncli.parser()\n"
        "print([m for m in ('numpy', 'absl', 'ml_collections', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_help_that_nobody_reads_on_ends_quietly():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "supermask_jax"],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "supermask_jax", "trian"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    assert "did you mean 'train'" in done.stderr


TYPED = [
    ("supermask eva", ["evaluate"]),
    ("supermask train --config.optimizer.lea", ["--config.optimizer.learning_rate"]),
    ("supermask evaluate --split v", ["val"]),
    ("supermask lottery --config.lottery.lev", ["--config.lottery.levels"]),
    ("supermask train --config READ", ["README.md"]),
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion_of_bash(capsys):
    assert cli.main(["completion", "bash"]) == 0
    lines = [capsys.readouterr().out]
    for line, _ in TYPED:
        words = line.split()
        lines.append(
            f"COMP_CWORD={len(words) - 1} COMP_WORDS=({' '.join(words)})\n"
            "_shtab_supermask 2>/dev/null; echo ${COMPREPLY[*]}"
        )
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == [" ".join(found) for _, found in TYPED], done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_ends_with_two_examples_that_can_be_given(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    *_, first, second = capsys.readouterr().out.splitlines()
    for line in (first, second):
        program, *words = shlex.split(line)
        assert program == "supermask" and words[0] == name
        args = cli._parse(words)
        if "config" in args:
            load_with_overrides(args.config, args.overrides, lambda config: None)
