"""A small sample of `campaign`, in a process of its own: what is killed there leaves threads."""

import os
import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).with_name("campaign.py")


def test_interrupted_runs_go_on_and_damaged_files_are_named():
    command = [
        sys.executable,
        CAMPAIGN,
        "--interruptions=6",
        "--damages=24",
        "--races=1",
        "--kills=2",
    ]
    # What the tests set for a process of eight devices is not for this one.
    env = {key: value for key, value in os.environ.items() if key != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    lines = done.stdout.splitlines()
    assert lines == [
        "     6 interruptions",
        "    24 damaged files",
        "     1 races",
        "     2 kills",
    ], done.stdout + done.stderr
    assert done.returncode == 0
