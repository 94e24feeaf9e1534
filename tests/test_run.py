"""Whole runs on the embedded digits: resume, kill, work folders, and what they leave."""

import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from helpers import (
    main_command,
    run_command,
    run_main,
    said_lines,
    start_command,
    stopped_run,
    tiny_argv,
    tiny_config,
)

from supermask_jax import experiment
from supermask_jax.analysis.results import collect
from supermask_jax.models.convolution import resolved
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


def finish(path):
    """Runs `finished` in a folder to its end, as a process of its own with one thread."""
    done = run_main(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}"))
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny run, as a process of its own with one thread."""
    path = tmp_path_factory.mktemp("finished") / "run"
    finish(path)
    return path


def test_a_run_leaves_its_results(finished):
    folder = Workdir(finished)
    summary, lines, masks = results(finished)
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    for line in folder.read_metrics():
        names = "seed epoch step train_loss train_accuracy val_loss val_accuracy"
        assert line.keys() >= {*names.split(), "remaining_weights", "seconds"}
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


@pytest.mark.parametrize(("model", "told"), [("conv2", True), ("fcn", False)])
def test_what_a_convolution_came_to_is_told_where_there_is_one(model, told, tmp_path):
    config = tiny_config(**{"model.name": model, "epochs": 1, "data.subset": 60})
    experiment.run(config, tmp_path / "run", quiet=True)
    way = "products" if jax.default_backend() == "cpu" else "xla"
    found = collect([tmp_path / "run"])["env"]
    assert found.get("convolution") == (way if told else None)


def test_the_way_of_convolutions_depends_on_the_backend(monkeypatch):
    for backend, way in (("cpu", "products"), ("gpu", "xla"), ("tpu", "xla")):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert [resolved(name) for name in ("auto", "xla", "products")] == [way, "xla", "products"]


def test_a_finished_run_is_left_alone(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    assert "finished: nothing to do" in finish(finished).stderr
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}


def test_another_config_is_refused_with_the_difference(finished):
    done = run_main(
        *tiny_argv(f"--config.epochs={EPOCHS}", "--config.optimizer.learning_rate=0.25"),
        f"--workdir={finished}",
    )
    assert done.returncode == 1
    assert len(said_lines(done)) == 1
    assert "optimizer.learning_rate: " in done.stderr
    assert "-> 0.25" in done.stderr


def start_and_signal(path, signum, epochs_before):
    """Starts the run of `finished` in `path` and signals it once some epochs are on disk."""
    argv = tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}")
    process = start_command(main_command(*argv))
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
    assert "resuming after epoch" in finish(path).stderr
    assert_same_results(finished, path)


def test_a_run_that_goes_on_under_other_settings_of_jax_is_the_same(
    finished, tmp_path, monkeypatch
):
    path = tmp_path / "run"
    start_and_signal(path, signal.SIGKILL, 2)
    for name, value in {
        "JAX_ENABLE_X64": "1",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_RANDOM_SEED_OFFSET": "3",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "FLAX_FIX_RNG_SEPARATOR": "1",
    }.items():
        monkeypatch.setenv(name, value)
    finish(path)
    assert_same_results(finished, path)
    env = json.loads(Workdir(path).env.read_text())
    assert (env["generator"], env["dtype"]) == ("threefry2x32", "float32")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_exit(finished, tmp_path, signum):
    path = tmp_path / "run"
    code, output = start_and_signal(path, signum, 1)
    assert code == 128 + signum, output
    assert "saved: give the same command to go on" in output
    assert "Traceback" not in output
    finish(path)
    assert_same_results(finished, path)


@pytest.mark.parametrize("calls", [1, 4, 5, 7])
def test_stopped_inside_an_epoch_resumes_inside_it(tmp_path, monkeypatch, calls):
    config = tiny_config(epochs=2, steps_per_call=3)
    whole = experiment.run(config, tmp_path / "whole", quiet=True)
    stopped_run(config, tmp_path / "stopped", monkeypatch, calls)
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


def test_disk_full_while_saving_is_one_line_and_loses_nothing(finished, tmp_path):
    path = tmp_path / "run"
    code, _ = start_and_signal(path, signal.SIGKILL, 2)
    assert code == -signal.SIGKILL
    command = main_command(*tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}"))
    # A limit on the size of files stands in for the full disk: writing fails with an OS error.
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *command]
    done = run_command(limited)
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "could not save a checkpoint" in errors[0]
    assert "Traceback" not in done.stderr
    finish(path)
    assert_same_results(finished, path)


@pytest.mark.parametrize("method", ["bernoulli", "signed_topk", "multicoat"])
def test_methods_that_sample_anneal_or_coat_resume(tmp_path, monkeypatch, method):
    config = tiny_config(epochs=2, steps_per_call=3)
    config.method = {"name": method}
    whole = experiment.run(config, tmp_path / "whole", quiet=True)
    stopped_run(config, tmp_path / "stopped", monkeypatch, 5)
    resumed = experiment.run(config, tmp_path / "stopped", quiet=True)
    for key in ("train_loss", "test_loss", "remaining_weights"):
        assert resumed[key] == pytest.approx(whole[key], rel=1e-3), key
    if method != "bernoulli":  # Its written masks are the most probable, not the sampled ones.
        counts = resumed["layers"].values()
        kept = sum(layer["kept"] + layer["inverted"] for layer in counts)
        assert kept / resumed["num_weights"] == pytest.approx(resumed["remaining_weights"])


def test_tensorboard_gets_every_epoch(tmp_path):
    experiment.run(tiny_config(epochs=2, tensorboard=True), tmp_path / "run", quiet=True)
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert events.read_bytes().count(b"remaining_weights") == 2


def test_config_difference_names_every_entry():
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 5}, "e": 0}
    assert config_difference(old, new) == "b.c: 2 -> 5, b.d: 3 -> 'absent', e: 'absent' -> 0"
    assert config_difference(old, old) == ""


def test_a_run_from_before_an_entry_was_there_had_its_default():
    old, new = {"a": 1}, {"a": 1, "b": {"c": 2}}
    assert config_difference(old, new, {"a": 0, "b": {"c": 2}, "d": 3}) == ""
    assert config_difference(old, new, {"a": 1, "b": {"c": 4}}) == "b.c: 4 -> 2"
    assert config_difference({"a": 5}, new, {"a": 1, "b": {"c": 2}}) == "a: 5 -> 1"


def test_a_folder_of_an_older_version_is_finished(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    config = Workdir(path).read_config()
    del config["compute_dtype"], config["data"]["augment"]
    (path / "config.json").write_text(json.dumps(config))
    assert "nothing to do" in finish(path).stderr
    done = run_main(
        *tiny_argv(f"--config.epochs={EPOCHS}", f"--workdir={path}"),
        "--config.compute_dtype=bfloat16",
    )
    assert "(compute_dtype: 'float32' -> 'bfloat16')" in done.stderr
