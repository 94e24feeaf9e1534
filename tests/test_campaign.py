"""A small sample of `campaign`, in a process of its own: what is killed there leaves threads."""

import os
import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).with_name("campaign.py")


def test_interrupted_runs_go_on_and_damaged_files_are_named():
    counts = {"interruptions": 6, "damages": 24}
    command = [sys.executable, CAMPAIGN, *(f"--{kind}={n}" for kind, n in counts.items())]
    # What the tests set for a process of eight devices is not for this one.
    env = {key: value for key, value in os.environ.items() if key != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == "6 interruptions 24 damaged files".split()
