"""Two real processes as one run: the same numbers as one; what happens when one of them dies."""

import socket
import time

import pytest
from helpers import ROOT, main_command, run_main, start_command, tiny_argv
from test_seeds import assert_same_runs, lines_of

from supermask_jax import experiment
from supermask_jax.config.files import load_with_overrides
from supermask_jax.training.workdir import Workdir


def start_two(*argv):
    """Starts `experiments/main.py` as two processes that work together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # Only one of them would write to it.
    }
    command = main_command(*tiny_argv("--distributed", *argv))
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


def test_without_others_to_join_there_is_one_line():
    done = run_main(*tiny_argv("--distributed"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID" in done.stderr
