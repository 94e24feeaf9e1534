"""Nothing is silent for long, and Ctrl-C is answered also where Python runs no handler."""

import fcntl
import json
import logging
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from helpers import ROOT, single_threaded, tiny_argv, tiny_config

from supermask_jax import cli
from supermask_jax.commands import dry_run, process
from supermask_jax.data.progress import counted
from supermask_jax.training import waiting


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(waiting, "_LOG_S", 0.01)
    monkeypatch.setattr(waiting, "_TERMINAL_S", 0.01)


def test_what_takes_long_is_told_in_a_log_and_the_rest_is_not(at_once, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "supermask_jax")
    with waiting.waiting("reading it"):
        time.sleep(0.2)
    assert [record.getMessage() for record in caplog.records] == ["reading it ..."]
    monkeypatch.setattr(waiting, "_LOG_S", 60)
    with waiting.waiting("reading more"):
        pass
    assert len(caplog.records) == 1


def shown_by(work):
    """What a process shows on a terminal while it does some work."""
    ours, theirs = pty.openpty()
    code = f"import time\nfrom supermask_jax.training.waiting import waiting\n{work}"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    assert child.wait(60) == 0
    shown = os.read(ours, 65536).decode()
    os.close(ours), os.close(theirs)
    return shown


def test_a_spinner_with_the_time_and_the_cursor_on_a_terminal():
    shown = shown_by("with waiting('reading it'):\n    time.sleep(1.2)\n")
    assert re.search("0:00:0.*reading it", shown)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_a_bar_with_sizes_and_an_end_where_something_is_counted():
    shown = shown_by(
        "from supermask_jax.data.progress import counted\n"
        "with waiting('reading it'):\n"
        "    for item in counted(range(2000), 'train images', 2000, 3_000_000):\n"
        "        time.sleep(0.001)\n"
    )
    plain = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", shown)
    found = re.findall(
        r"reading it: ([\d,]+) of 2,000 train images, 3.0 MB, until about \w+", plain
    )
    assert len(set(found)) > 2 and 0 < int(found[-1].replace(",", "")) <= 2000


def test_lines_of_a_log_tell_how_far_it_is(at_once, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "_LINE_S", 0.05)
    caplog.set_level(logging.INFO, "supermask_jax")
    with waiting.waiting("reading it"):
        assert list(counted(map(lambda i: time.sleep(0.05) or i, range(8)), "images", 8)) == [
            *range(8)
        ]
    first, *others = [record.getMessage() for record in caplog.records]
    assert first == "reading it ..."
    assert any(re.fullmatch(r"reading it: \d of 8 images, until about .*:\d\d", x) for x in others)
    assert list(counted("ab", "letters", 2)) == ["a", "b"]  # Where nobody looks.


def test_points_tell_when_the_last_one_ends(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(waiting.time, "time", lambda: 0.0)
    points = waiting.Points(3)
    assert next(points) == "1 of 3"
    now[0] += 3600
    end = time.strftime("%a %H:%M", time.localtime(7200))
    assert next(points) == f"2 of 3, the last one ends about {end}"


def test_a_dry_run_shows_its_table_before_it_compiles(monkeypatch):
    def not_yet(*unused):
        raise AssertionError("compiled before the table was shown")

    monkeypatch.setattr(dry_run, "plan_step", not_yet)
    parts, said = dry_run.describe(tiny_config()), ""
    while "steps: 3 epochs" not in said or "devices:" not in said:
        said += next(parts)
    assert "dense3/kernel" in said
    with pytest.raises(AssertionError, match="compiled"):
        list(parts)


STUCK = """
import ctypes, signal
from supermask_jax.commands import process
signal.signal(signal.SIGINT, lambda *unused: None)
with process.answered_signals():
    print("ready", flush=True)
    for _ in range(3):  # A call into C, as a compilation is: handlers run after it.
        ctypes.CDLL(None).sleep(30)
"""


def test_a_signal_is_answered_by_a_line_and_a_second_one_ends_what_does_not_stop():
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    said = child.stderr.readline()
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 130
    assert said == "stopping: what is being computed ends first; again: stop now\n"
    child.stdout.close(), child.stderr.close()


def test_a_command_that_ends_by_itself_answers_nothing(capsys):
    old = signal.signal(signal.SIGINT, lambda *unused: None)
    try:
        with process.answered_signals():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, old)
    assert capsys.readouterr().err == ""
    assert signal.set_wakeup_fd(-1) == -1


def test_a_stopped_script_ends_without_the_interpreters_own_end(monkeypatch):
    found = []
    monkeypatch.setattr(cli.os, "_exit", found.append)
    monkeypatch.setattr(cli, "main", lambda: 130)
    with pytest.raises(SystemExit):
        cli.script()
    assert found == [130]


def test_ctrl_c_in_a_real_terminal_gives_it_back(tmp_path):
    controller, terminal_fd = pty.openpty()
    fcntl.ioctl(terminal_fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    # Ctrl-C reaches the process whose terminal it is.
    code = (
        "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from supermask_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "train"]
    argv = tiny_argv("--config.epochs=20000", f"--workdir={tmp_path / 'run'}")
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal_fd)
    env = single_threaded() | {"TERM": "xterm-256color"}
    child = subprocess.Popen([*command, *argv], env=env, start_new_session=True, **streams)
    os.close(terminal_fd)
    said, end, sent = b"", time.monotonic() + 100, False
    while time.monotonic() < end:
        try:
            said += os.read(controller, 65536)
        except OSError:  # The other end is closed.
            break
        if not sent and b"remaining" in said:
            os.write(controller, b"\x03")
            sent = True
    os.close(controller)
    assert child.wait(30) == 130
    text = said.decode(errors="replace")  # The echo of ^C may fall within a character.
    last = text.splitlines()[-1]
    assert last.startswith("stopped by SIGINT after step") and "saved" in last
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
    # Nothing of the panel is drawn after what takes it away.
    assert "╭" not in text[text.rindex("\x1b[2K") :]
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
