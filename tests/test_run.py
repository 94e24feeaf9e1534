"""Whole runs on the embedded digits: resume, kill, work folders, and what they leave."""

import json
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from helpers import main_command, run_main, single_threaded, tiny_argv, tiny_config

from supermask_jax import experiment
from supermask_jax.errors import UserError
from supermask_jax.training import loop
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.workdir import Workdir, config_difference

TIMES = ("seconds",)
EPOCHS = 15  # enough that a signal sent after the first ones arrives before the last


def without_times(value):
    """The summary or metrics without wall times."""
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return {key: item for key, item in value.items() if key not in TIMES}


def results(path):
    folder = Workdir(path)
    masks = dict(np.load(folder.masks))
    return without_times(folder.finished_summary()), without_times(folder.read_metrics()), masks


def assert_same_results(a, b, exact=True):
    (summary_a, lines_a, masks_a), (summary_b, lines_b, masks_b) = results(a), results(b)
    assert [line["epoch"] for line in lines_a] == [line["epoch"] for line in lines_b]
    if exact:
        assert lines_a == lines_b
        assert summary_a == summary_b
    for name in masks_a:
        np.testing.assert_array_equal(masks_a[name], masks_b[name])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny run, as a process of its own with one thread."""
    path = tmp_path_factory.mktemp("finished") / "run"
    done = run_main(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}"))
    assert done.returncode == 0, done.stderr
    return path


def test_a_run_leaves_its_results(finished):
    folder = Workdir(finished)
    summary, lines, masks = results(finished)
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    for line in folder.read_metrics():
        assert line.keys() >= {
            "seed", "epoch", "step", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
            "remaining_weights", "seconds",
        }  # fmt: skip
        assert 0 < line["remaining_weights"] <= 1
        assert 0 <= line["val_accuracy"] <= 1
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    assert summary["test_accuracy"] > 0.5
    assert summary["num_weights"] == sum(mask.size for mask in masks.values())
    kept = sum(np.count_nonzero(mask) for mask in masks.values())
    assert summary["remaining_weights"] == pytest.approx(kept / summary["num_weights"])
    for name, mask in masks.items():
        assert mask.dtype == np.int8
        assert set(np.unique(mask)) <= {-1, 0, 1}
        layer = summary["layers"][name]
        assert layer["inverted"] == np.count_nonzero(mask == -1)
        assert layer["density"] == pytest.approx(np.mean(mask != 0))
    env = json.loads(folder.env.read_text())
    assert env["versions"]["jax"] == jax.__version__
    assert env["backend"] == "cpu"


def test_a_finished_run_is_left_alone(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    done = run_main(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={finished}"))
    assert done.returncode == 0
    assert "finished: nothing to do" in done.stderr
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}


def test_another_config_is_refused_with_the_difference(finished):
    done = run_main(
        *tiny_argv(f"--config.epochs={EPOCHS}", "--config.optimizer.learning_rate=0.25"),
        f"--workdir={finished}",
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "optimizer.learning_rate: " in done.stderr
    assert "-> 0.25" in done.stderr


def start_and_signal(path, signum, epochs_before):
    """Starts the run of `finished` in `path` and signals it once some epochs are on disk."""
    process = subprocess.Popen(
        main_command(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}")),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=single_threaded(),
    )  # fmt: skip
    deadline = time.monotonic() + 90
    folder = Workdir(path)
    while len(folder.read_metrics()) < epochs_before:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def test_kill_9_and_resume_equals_never_stopped(finished, tmp_path):
    path = tmp_path / "run"
    for epochs_before in (1, 3, 6):
        code, _ = start_and_signal(path, signal.SIGKILL, epochs_before)
        assert code == -signal.SIGKILL
        assert not Workdir(path).summary.exists()
    done = run_main(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}"))
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch" in done.stderr
    assert_same_results(finished, path)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_exit(finished, tmp_path, signum):
    path = tmp_path / "run"
    code, output = start_and_signal(path, signum, 1)
    assert code == 128 + signum, output
    assert "saved: give the same command to go on" in output
    assert "Traceback" not in output
    done = run_main(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}"))
    assert done.returncode == 0, done.stderr
    assert_same_results(finished, path)


class StopAfter:
    """Stands in for the signal: stops the loop after some calls of `hooks.progress`."""

    def __init__(self, monkeypatch, calls):
        self.stop, self.left = loop.StopSignal(), calls
        monkeypatch.setattr(loop, "StopSignal", lambda: self.stop)

    def __call__(self, *unused):
        self.left -= 1
        if self.left == 0:
            self.stop.signum = signal.SIGTERM


@pytest.mark.parametrize("calls", [1, 4, 5, 7])
def test_stopped_inside_an_epoch_resumes_inside_it(tmp_path, monkeypatch, calls):
    config = tiny_config(epochs=2, steps_per_call=3)
    whole = experiment.run(config, tmp_path / "whole", quiet=True)
    stop = StopAfter(monkeypatch, calls)
    monkeypatch.setattr("supermask_jax.training.job.Progress.step", stop)
    with pytest.raises(loop.Interrupted):
        experiment.run(config, tmp_path / "stopped", quiet=True)
    monkeypatch.undo()
    resumed = experiment.run(config, tmp_path / "stopped", quiet=True)
    for key in ("train_loss", "train_accuracy", "test_loss", "remaining_weights"):
        assert resumed[key] == pytest.approx(whole[key], rel=1e-4), key
    lines = Workdir(tmp_path / "stopped").read_metrics()
    assert [line["epoch"] for line in lines] == [1, 2]


def test_steps_in_one_call_or_many_give_the_same(tmp_path):
    one = experiment.run(tiny_config(steps_per_call=1), tmp_path / "one", quiet=True)
    many = experiment.run(tiny_config(steps_per_call=5), tmp_path / "many", quiet=True)
    for key in ("train_loss", "val_loss", "test_loss"):
        assert many[key] == pytest.approx(one[key], rel=1e-4)


def test_protocols(tmp_path):
    validation = experiment.run(tiny_config(epochs=1), tmp_path / "v", quiet=True)
    paper = experiment.run(tiny_config(epochs=1, protocol="paper"), tmp_path / "p", quiet=True)
    lines = {name: Workdir(tmp_path / name).read_metrics()[0].keys() for name in ("v", "p")}
    assert "val_accuracy" in lines["v"]
    assert "test_accuracy" not in lines["v"]
    assert "test_accuracy" in lines["p"]
    assert "val_accuracy" not in lines["p"]
    assert validation["step"] == -(-(1437 - 143) // 128)
    assert paper["step"] == -(-1437 // 128)
    assert "test_accuracy" in validation


def test_a_seed_decides_everything(tmp_path):
    a = experiment.run(tiny_config(epochs=1, seed=3), tmp_path / "a", quiet=True)
    b = experiment.run(tiny_config(epochs=1, seed=3), tmp_path / "b", quiet=True)
    c = experiment.run(tiny_config(epochs=1, seed=4), tmp_path / "c", quiet=True)
    assert a["frozen_sha256"] == b["frozen_sha256"] != c["frozen_sha256"]
    assert a["test_loss"] == pytest.approx(b["test_loss"], rel=1e-4)
    assert a["test_loss"] != c["test_loss"]


def interrupted_run(path, monkeypatch, epochs=3):
    """Leaves a run stopped in its last epoch: `epochs - 1` lines and checkpoints."""
    stop = StopAfter(monkeypatch, epochs)
    monkeypatch.setattr("supermask_jax.training.job.Progress.step", stop)
    with pytest.raises(loop.Interrupted):
        experiment.run(tiny_config(epochs=epochs + 1), path, quiet=True)
    monkeypatch.undo()
    return Workdir(path)


@pytest.mark.parametrize("damage", ["cut", "flip", "missing"])
def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path, monkeypatch, caplog, damage):
    folder = interrupted_run(tmp_path / "run", monkeypatch)
    steps = sorted((folder.checkpoints / "steps").iterdir(), key=lambda p: int(p.name))
    data = max((p for p in steps[-1].rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(data.read_bytes())
    if damage == "cut":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
        data.write_bytes(content)
    else:
        shutil.rmtree(steps[-1] / "state")
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    with caplog.at_level("INFO", logger="supermask_jax"):
        summary = experiment.run(tiny_config(epochs=4), folder.path, quiet=True)
    assert "is broken" in caplog.text
    assert "falling back to the one before" in caplog.text
    assert f"resuming after epoch {len(steps) - 1}" in caplog.text
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2, 3, 4]
    whole = experiment.run(tiny_config(epochs=4), tmp_path / "whole", quiet=True)
    assert summary["test_loss"] == pytest.approx(whole["test_loss"], rel=1e-4)


def test_changed_frozen_weights_are_an_error(tmp_path, monkeypatch):
    folder = interrupted_run(tmp_path / "run", monkeypatch)
    job = experiment.build(tiny_config(epochs=4))
    _, frozen = job.create(job.keys()[0])
    other = jax.tree.map(lambda x: x * 1.5, frozen)
    shutil.rmtree(folder.checkpoints / "frozen")
    with Checkpoints(tmp_path / "other") as checkpoints:
        checkpoints.start(other)
    shutil.copytree(tmp_path / "other" / "frozen", folder.checkpoints / "frozen")
    # Whole, but of another run: the digest in the steps does not know it.
    with pytest.raises(UserError, match="frozen weights .* are not those"):
        experiment.run(tiny_config(epochs=4), folder.path, quiet=True)


def test_torn_and_extra_metric_lines_are_mended(tmp_path, monkeypatch):
    folder = interrupted_run(tmp_path / "run", monkeypatch)
    lines = folder.metrics.read_text().splitlines()
    extra = json.dumps(json.loads(lines[-1]) | {"epoch": len(lines) + 1})
    folder.metrics.write_text("\n".join([*lines, extra, '{"epoch": 9, "tr']))
    experiment.run(tiny_config(epochs=4), folder.path, quiet=True)
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2, 3, 4]
    assert len(folder.metrics.read_text().splitlines()) == 4


def test_disk_full_while_saving_is_one_line_and_loses_nothing(finished, tmp_path):
    path = tmp_path / "run"
    code, _ = start_and_signal(path, signal.SIGKILL, 2)
    assert code == -signal.SIGKILL
    command = main_command(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}"))
    # A limit on the size of files stands in for the full disk: writing fails with an OS error.
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *command]
    done = subprocess.run(
        limited, capture_output=True, text=True, timeout=120, env=single_threaded()
    )
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "could not save a checkpoint" in errors[0]
    assert "Traceback" not in done.stderr
    done = run_main(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}"))
    assert done.returncode == 0, done.stderr
    assert_same_results(finished, path)


@pytest.mark.parametrize("method", ["dense", "signed"])
@pytest.mark.parametrize("steps_per_call", [1, 5])
def test_divergence_is_one_error(tmp_path, method, steps_per_call):
    # A signed mask hides every weight once its scores are NaN: later losses are finite again.
    config = tiny_config(steps_per_call=steps_per_call, **{"weight_init.gain": 1e20})
    if method == "dense":
        config.method = {"name": "dense"}
    with pytest.raises(UserError, match=r"training diverged: the loss is (nan|inf)"):
        experiment.run(config, tmp_path / "run", quiet=True)
    assert not Workdir(tmp_path / "run").read_metrics()


def test_two_processes_in_one_folder_are_refused(tmp_path):
    folder = Workdir(tmp_path / "run")
    folder.create(experiment.identity(tiny_config()))
    with folder.locked(), pytest.raises(UserError, match="another process is training"):
        experiment.run(tiny_config(), folder.path, quiet=True)


def test_checkpoints_that_cannot_be_read_are_kept(tmp_path, monkeypatch):
    folder = interrupted_run(tmp_path / "run", monkeypatch)
    before = sorted(p.name for p in (folder.checkpoints / "steps").iterdir())
    lines = folder.read_metrics()

    def fail(self, step, like):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Checkpoints, "_restore_step", fail)
    with pytest.raises(UserError, match="none of the checkpoints"):
        experiment.run(tiny_config(epochs=4), folder.path, quiet=True)
    assert sorted(p.name for p in (folder.checkpoints / "steps").iterdir()) == before
    assert folder.read_metrics() == lines


def test_a_stop_whose_save_fails_does_not_say_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("supermask_jax.training.job.Progress.step", StopAfter(monkeypatch, 1))
    monkeypatch.setattr(
        "orbax.checkpoint.CheckpointManager.wait_until_finished",
        lambda self: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(UserError, match="could not save a checkpoint"):
        experiment.run(tiny_config(), tmp_path / "run", quiet=True)


def test_a_damaged_summary_and_lost_metrics_are_one_error(tmp_path, monkeypatch):
    folder = interrupted_run(tmp_path / "run", monkeypatch)
    folder.metrics.write_text(folder.metrics.read_text().split("\n", 1)[1][:-5])
    with pytest.raises(UserError, match="lacks epochs before the checkpoint"):
        experiment.run(tiny_config(epochs=4), folder.path, quiet=True)
    folder.summary.write_text('{"seed"')
    with pytest.raises(UserError, match="is damaged: delete it"):
        experiment.run(tiny_config(epochs=4), folder.path, quiet=True)


@pytest.mark.parametrize("method", ["bernoulli", "signed_topk", "multicoat"])
def test_methods_that_sample_anneal_or_coat_resume(tmp_path, monkeypatch, method):
    config = tiny_config(epochs=2, steps_per_call=3)
    config.method = {"name": method}
    whole = experiment.run(config, tmp_path / "whole", quiet=True)
    stop = StopAfter(monkeypatch, 5)
    monkeypatch.setattr("supermask_jax.training.job.Progress.step", stop)
    with pytest.raises(loop.Interrupted):
        experiment.run(config, tmp_path / "stopped", quiet=True)
    monkeypatch.undo()
    resumed = experiment.run(config, tmp_path / "stopped", quiet=True)
    for key in ("train_loss", "test_loss", "remaining_weights"):
        assert resumed[key] == pytest.approx(whole[key], rel=1e-3), key
    if method != "bernoulli":  # Its written masks are the most probable, not the sampled ones.
        counts = resumed["layers"].values()
        kept = sum(layer["kept"] + layer["inverted"] for layer in counts)
        assert kept / resumed["num_weights"] == pytest.approx(resumed["remaining_weights"])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty and holds no run"):
        experiment.run(tiny_config(), tmp_path, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unwritable_folder_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to work folder"):
        experiment.run(tiny_config(), tmp_path / "file" / "run", quiet=True)


def test_tensorboard_gets_every_epoch(tmp_path):
    experiment.run(tiny_config(epochs=2, tensorboard=True), tmp_path / "run", quiet=True)
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert events.read_bytes().count(b"remaining_weights") == 2


def test_tensorboard_that_is_not_installed_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the extra"):
        experiment.run(tiny_config(tensorboard=True), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_config_difference_names_every_entry():
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 5}, "e": 0}
    assert config_difference(old, new) == "b.c: 2 -> 5, b.d: 3 -> 'absent', e: 'absent' -> 0"
    assert config_difference(old, old) == ""
