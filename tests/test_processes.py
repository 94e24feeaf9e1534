"""Two real processes as one run: the same numbers as one; what happens when one of them dies."""

import socket
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_helpers import LAZY_MAIN, digit_folder
from helpers import ROOT, main_command, run_main, said_lines, start_command, tiny_argv
from test_seeds import assert_same_runs, lines_of

from supermask_jax import experiment
from supermask_jax.config.files import load_with_overrides
from supermask_jax.training.workdir import Workdir

# Notes what each process decodes.
_NOTING = (
    """
import os
from supermask_jax.data import images

def noted(path, size=0, decode=images.decode):
    with open(os.environ["NOTES"] + os.environ["JAX_PROCESS_ID"], "a") as notes:
        notes.write(f"{path.parts[-3]} {path.name}\\n")
    return decode(path, size)

images.decode = noted
"""
    + LAZY_MAIN
)


def start_two(*argv, **options):
    """Starts the tiny run as two processes that work together: see `start_processes`."""
    return start_processes(*tiny_argv(*argv), **options)


def start_processes(*argv, main=None, **variables):
    """Starts `experiments/main.py`, or another `main`, as two processes that work together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # Only one of them would write to it.
    }
    argv = ["--distributed", *argv]
    command = [*main, *argv] if main else main_command(*argv)
    shared |= variables
    return [start_command(command, **shared, JAX_PROCESS_ID=str(i)) for i in range(2)]


def single(path, *argv):
    """The same run in this process, by one device."""
    entries = [a for a in tiny_argv(*argv) if a.startswith("--config.")]
    config = load_with_overrides(str(ROOT / "configs" / "quickstart.py"), entries)
    return experiment.run(config, path, quiet=True)


def test_a_process_dies_the_other_says_so_and_one_process_goes_on(tmp_path):
    path = tmp_path / "run"
    argv = ("--config.epochs=12", f"--workdir={path}")
    survivor, victim = start_two(*argv)
    deadline = time.monotonic() + 120
    while len(Workdir(path).read_metrics()) < 2:
        assert time.monotonic() < deadline and survivor.poll() is None, survivor.communicate()
        time.sleep(0.01)
    victim.kill()
    # Seconds as a rule; the timeout of a save where the victim died in the middle of one.
    out, err = survivor.communicate(timeout=180)
    assert survivor.returncode == 1
    assert "error: process 0 lost another one" in err, err
    assert out.count("epoch  1/12") == 1
    assert "epoch" not in victim.communicate()[0]  # Only the first one prints.
    assert 2 <= len(Workdir(path).read_metrics()) < 12
    # On, in this process and on four devices.
    single(path, argv[0], "--config.mesh.data=4")
    single(tmp_path / "whole", argv[0])
    lines, expected = lines_of(path), lines_of(tmp_path / "whole")
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    for line, known in zip(lines, expected, strict=True):
        assert line["train_loss"] == pytest.approx(known["train_loss"], rel=0.01, abs=1e-3)
        assert line["remaining_weights"] == pytest.approx(known["remaining_weights"], abs=2e-3)


def test_seeds_over_two_processes_are_seeds_in_one(tmp_path):
    argv = ("--config.epochs=2", "--config.num_seeds=2")
    both = start_two(*argv, f"--workdir={tmp_path / 'two'}")
    ended = [process.communicate(timeout=120) for process in both]
    assert "mean of 2 seeds" in ended[0][0], ended
    assert [process.returncode for process in both] == [0, 0], ended
    single(tmp_path / "one", *argv)
    assert_same_runs(tmp_path / "two", tmp_path / "one")
    assert Workdir(tmp_path / "two").finished_summary()["test_accuracy"]["n"] == 2


def test_each_of_two_processes_reads_its_part_of_a_stream(tmp_path):
    name = digit_folder(tmp_path / "images")
    entries = {"data.name": name, "data.image_size": 8, "epochs": 2, "protocol": "paper"}
    # The last batch of an epoch has rows for the first process only.
    entries |= {"batch_size": 20, "eval_batch_size": 10}
    argv = [f"--config.{key}={value}" for key, value in entries.items()]
    streamed = (*argv, "--config.data.streaming=always", f"--workdir={tmp_path / 'two'}")
    notes = tmp_path / "read-by-"
    both = start_two(*streamed, main=[sys.executable, "-c", _NOTING], NOTES=str(notes))
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    single(tmp_path / "one", *argv)
    for line, known in zip(lines_of(tmp_path / "two"), lines_of(tmp_path / "one"), strict=True):
        for name in known.keys() - {"seconds"}:
            assert line[name] == pytest.approx(known[name], rel=1e-4, abs=1e-4), name
    masks, known = (np.load(tmp_path / run / "masks.npz") for run in ("two", "one"))
    assert all(np.mean(masks[name] != known[name]) < 1e-3 for name in known.files)
    read = [Counter(Path(f"{notes}{i}").read_text().splitlines()) for i in range(2)]
    # Mean and deviation are of 90 images; two epochs of training, three evaluations of 30.
    assert [sum(counts.values()) for counts in read] == [90 + 2 * 50 + 3 * 15, 90 + 2 * 40 + 3 * 15]
    times = {"train": 2 + 2, "val": 3}
    assert all(n == times[what.split()[0]] for what, n in (read[0] + read[1]).items())


def test_without_others_to_join_there_is_one_line():
    done = run_main(*tiny_argv("--distributed"))
    assert done.returncode == 1
    assert len(said_lines(done)) == 1
    assert "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID" in done.stderr
