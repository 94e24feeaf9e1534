"""Runs that meet broken files, full disks and bad luck: one clear error, and nothing lost."""

import gc
import json
import shutil

import jax
import pytest
from helpers import interrupted_run, stop_after, stopped_run, tiny_config

from supermask_jax import experiment
from supermask_jax.errors import UserError
from supermask_jax.training import checkpoint
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.workdir import Workdir


# Orbax leaves the rest of a failed read to the garbage collector, which then complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
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
    gc.collect()  # Here, and not in a later test.
    assert "is broken" in caplog.text
    assert "falling back to the one before" in caplog.text
    assert f"resuming after epoch {len(steps) - 1}" in caplog.text
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2, 3, 4]
    whole = experiment.run(tiny_config(epochs=4), tmp_path / "whole", quiet=True)
    assert summary["test_loss"] == pytest.approx(whole["test_loss"], rel=1e-4)


def test_changed_frozen_weights_are_an_error(tmp_path, monkeypatch):
    folder = interrupted_run(tmp_path / "run", monkeypatch)
    job = experiment.build(tiny_config(epochs=4))
    _, frozen = job.start()
    other = jax.tree.map(lambda x: x * 1.5, frozen)
    shutil.rmtree(folder.checkpoints / "frozen")
    with Checkpoints(tmp_path / "other") as checkpoints:
        checkpoints.start(other)
    shutil.copytree(tmp_path / "other" / "frozen", folder.checkpoints / "frozen")
    # Whole, but of another run: the digest in the steps does not know it.
    with pytest.raises(UserError, match="frozen weights .* are not those"):
        experiment.run(tiny_config(epochs=4), folder.path, quiet=True)


@pytest.mark.parametrize("method", ["signed", "dense"])
def test_checkpoints_from_before_the_axis_of_seeds_are_read(tmp_path, monkeypatch, method):
    config = tiny_config(epochs=2, steps_per_call=5)
    config.method = {"name": method}
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)  # noqa: E731
    save, start = Checkpoints.save, Checkpoints.start
    monkeypatch.setattr(checkpoint, "_FORMAT", {})
    monkeypatch.setattr(Checkpoints, "start", lambda self, frozen: start(self, first(frozen)))
    monkeypatch.setattr(
        Checkpoints, "save", lambda self, step, state, wait: save(self, step, first(state), wait)
    )
    stopped_run(config, tmp_path / "run", monkeypatch, 4)
    summary = experiment.run(config, tmp_path / "run", quiet=True)
    whole = experiment.run(config, tmp_path / "whole", quiet=True)
    assert not list((tmp_path / "run" / "checkpoints").glob("broken-*"))
    assert summary["frozen_sha256"] == whole["frozen_sha256"]
    assert summary["test_loss"] == pytest.approx(whole["test_loss"], rel=1e-4)


def test_torn_and_extra_metric_lines_are_mended(tmp_path, monkeypatch):
    folder = interrupted_run(tmp_path / "run", monkeypatch)
    lines = folder.metrics.read_text().splitlines()
    extra = json.dumps(json.loads(lines[-1]) | {"epoch": len(lines) + 1})
    folder.metrics.write_text("\n".join([*lines, extra, '{"epoch": 9, "tr']))
    experiment.run(tiny_config(epochs=4), folder.path, quiet=True)
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2, 3, 4]
    assert len(folder.metrics.read_text().splitlines()) == 4


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


def test_of_two_commands_at_once_the_folder_names_the_one_that_trains(tmp_path, monkeypatch):
    config, other = tiny_config(epochs=1), tiny_config(epochs=2)
    load, refused = experiment.load_data, []

    def meanwhile(config):  # The other one starts while the first has written nothing yet.
        if not refused:
            refused.append("")
            with pytest.raises(UserError, match="another process is training") as caught:
                experiment.run(other, tmp_path / "run", quiet=True)
            refused.append(str(caught.value))
        return load(config)

    monkeypatch.setattr(experiment, "load_data", meanwhile)
    experiment.run(config, tmp_path / "run", quiet=True)
    assert len(refused) == 2
    assert Workdir(tmp_path / "run").read_config()["epochs"] == 1
    assert not [file for file in (tmp_path / "run").iterdir() if file.name.startswith(".")]


def test_what_fails_before_it_has_begun_leaves_no_folder(tmp_path, monkeypatch):
    def fail(config):
        raise UserError("no data")

    monkeypatch.setattr(experiment, "load_data", fail)
    with pytest.raises(UserError, match="no data"):
        experiment.run(tiny_config(), tmp_path / "runs" / "run", quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_temporary_of_a_killed_start_is_cleared_and_does_not_stop_the_next(tmp_path):
    stale = f".ticket-s1.safetensors.{'0' * 32}.tmp"
    for name in (stale, ".lock"):
        (tmp_path / name).touch()
    experiment.run(tiny_config(epochs=1), tmp_path, quiet=True)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


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
    stop_after(monkeypatch, 1)
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
    with pytest.raises(UserError, match="is damaged .*: delete it"):
        experiment.run(tiny_config(epochs=4), folder.path, quiet=True)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty and holds no run"):
        experiment.run(tiny_config(), tmp_path, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_log_of_a_job_may_lie_in_a_new_folder(tmp_path):
    for name in ("slurm-17.out", "job.err", "job.log"):
        (tmp_path / name).write_text("srun: job 17 queued")
        Workdir(tmp_path).check({"epochs": 1})
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not empty and holds no run"):
        Workdir(tmp_path).check({"epochs": 1})


def test_an_unwritable_folder_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to work folder"):
        experiment.run(tiny_config(), tmp_path / "file" / "run", quiet=True)


def test_tensorboard_that_is_not_installed_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the extra"):
        experiment.run(tiny_config(tensorboard=True), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_damaged_line_of_the_metrics_stops_a_run_that_would_go_on(tmp_path, monkeypatch):
    folder = interrupted_run(tmp_path, monkeypatch)
    whole = folder.metrics.read_bytes()
    folder.metrics.write_bytes(b"\xef\xbb\xbf" + whole)
    with pytest.raises(UserError, match="metrics.jsonl is damaged .line 1: "):
        experiment.run(tiny_config(epochs=4), tmp_path, quiet=True)
    assert folder.metrics.read_bytes() == b"\xef\xbb\xbf" + whole
