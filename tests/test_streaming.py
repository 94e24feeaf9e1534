"""Training on data that stay on the host equals training on data on the device."""

import jax
import numpy as np
import pytest
from data_helpers import digit_folder
from helpers import left, stopped_run, tiny_config
from lottery_helpers import STEPS
from lottery_helpers import config as lottery_config

from supermask_jax import cli, experiment, lottery
from supermask_jax.analysis.report.groups import group_runs
from supermask_jax.analysis.runs import read_folders
from supermask_jax.commands import report_arrays
from supermask_jax.data import Spec, images, load, own
from supermask_jax.errors import UserError
from supermask_jax.training import streaming
from supermask_jax.training.sharding import choose_layout, one_device
from supermask_jax.training.trainer import Plan

MODES = ("never", "always")
ODD = {"data.subset": 101, "batch_size": 20, "epochs": 3, "eval_batch_size": 17}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"steps_per_call": 2, "protocol": "paper"},
        {"data.augment": "crop_flip", "model.norm": "all", "microbatches": 2},
        {"mesh.data": 2},
    ],
    ids=["one dispatch", "two steps", "batch norm", "two devices"],
)
def test_a_streamed_run_is_the_same(changes, tmp_path):
    for mode in MODES:
        config = tiny_config(**ODD, **changes, **{"data.streaming": mode})
        experiment.run(config, tmp_path / mode, quiet=True)
    assert left(tmp_path / "always") == left(tmp_path / "never")


def test_seeds_of_a_streamed_set_train_one_after_another(tmp_path):
    one_each = {"num_seeds": 2, "seeds_per_program": 1}
    experiment.run(tiny_config(**ODD, **one_each), tmp_path / "never", quiet=True)
    streamed = tiny_config(**ODD, num_seeds=2, **{"data.streaming": "always"})
    experiment.run(streamed, tmp_path / "always", quiet=True)
    assert left(tmp_path / "always") == left(tmp_path / "never")
    streamed.seeds_per_program = 2
    with pytest.raises(UserError, match="one seed after another"):
        experiment.programs(streamed)


def test_reports_and_evaluations_of_streamed_runs_are_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(streaming, "_PIECE", 64 * 17)
    found = []
    for mode in MODES:
        config = tiny_config(**ODD, **{"data.streaming": mode, "model.name": "conv2"})
        config.epochs, config.model.width = 1, 0.05
        experiment.run(config, tmp_path / mode, quiet=True)
        # What reads a run asks nobody where its data shall be.
        monkeypatch.setattr(streaming, "device_bytes", lambda m=mode: 1e9 * (m == "never"))
        (group,) = group_runs(read_folders([tmp_path / mode]), {})
        details = report_arrays.details_of(group)
        assert details.missing == () and details.confusion.sum() == 101
        for place in (tmp_path / mode, tmp_path / mode / "ticket.safetensors"):
            assert cli.main(["evaluate", str(place), "--split=val", "--json"]) == 0
        said = capsys.readouterr().out.replace(mode, "")
        found.append((said, details.split, details.mistakes, details.confusion, details.means))
    assert found[0][:2] == found[1][:2] and '"images": 10' in found[0][0]
    jax.tree.map(np.testing.assert_array_equal, found[0][2:], found[1][2:])


def test_levels_of_pruning_are_the_same(tmp_path):
    for mode in MODES:
        settings = lottery_config({"criterion": "snip", "rewind_steps": STEPS + 3, "levels": 1})
        settings.data.streaming = mode
        lottery.run(settings, tmp_path / mode, quiet=True)
    for path in sorted((tmp_path / "never").rglob("*.npz")):
        known, other = (np.load(tmp_path / m / path.relative_to(tmp_path / "never")) for m in MODES)
        for name in known.files:
            np.testing.assert_array_equal(known[name], other[name])


def test_a_streamed_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    config = tiny_config(**ODD, steps_per_call=2, **{"data.streaming": "always"})
    experiment.run(config, tmp_path / "whole", quiet=True)
    stopped_run(config, tmp_path / "stopped", monkeypatch, 4)
    experiment.run(config, tmp_path / "stopped", quiet=True)
    assert left(tmp_path / "stopped") == left(tmp_path / "whole")


def test_a_folder_too_large_to_decode_at_once_is_read_as_it_is_needed(tmp_path, monkeypatch):
    name = digit_folder(tmp_path / "images")
    changes = {"data.name": name, "data.image_size": 8, "batch_size": 16, "protocol": "paper"}
    experiment.run(tiny_config(**changes), tmp_path / "decoded", quiet=True)
    own._loaded.cache_clear()
    monkeypatch.setattr(own, "DECODED", 1000)
    config = tiny_config(**changes, **{"data.streaming": "always"})
    assert isinstance(experiment.load_data(config).train.images, images.LazyImages)
    experiment.run(config, tmp_path / "lazy", quiet=True)
    found = [left(tmp_path / kind) for kind in ("decoded", "lazy")]
    for summary, _, _ in found:
        assert len(summary.pop("data")["digest"]) == 64
    assert found[0] == found[1]
    # A file that breaks later ends the run with its name.
    next((tmp_path / "images" / "train" / "1").glob("*.png")).write_bytes(b"no image")
    config.epochs = 4
    with pytest.raises(UserError, match="is no image that can be read"):
        experiment.run(config, tmp_path / "again", quiet=True)


def test_a_few_pieces_are_read_ahead_and_an_error_comes_through():
    read = []

    def reading(index):
        if index == 4:
            raise OSError("the disk is gone")
        read.append(index)
        return index

    found = streaming._ahead(reading, ((i,) for i in range(100)))
    assert next(found) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        list(found)
    assert read[:4] == [0, 1, 2, 3] and max(read) <= 4 + streaming._AHEAD


def test_the_device_gets_a_few_batches_at_a_time(monkeypatch):
    split = load("digits").train
    stream = streaming.Stream(split.images, split.labels, np.arange(3, 53), one_device())
    monkeypatch.setattr(streaming, "_PIECE", 2 * 16 * 64)
    (first, second) = list(streaming.pieces(stream, 16))
    assert first.images.shape == second.images.shape == (2, 16, 8, 8, 1)
    np.testing.assert_array_equal(first.images.reshape(32, 8, 8, 1), split.images[3:35])
    np.testing.assert_array_equal(np.ravel(second.labels)[:18], split.labels[35:53])
    assert np.ravel(second.weights).tolist() == [1] * 18 + [0] * 14
    assert not np.any(np.asarray(second.images).reshape(32, -1)[18:])
    # A dispatch is of so many steps, however many the device could take at once.
    plan = Plan(epochs=1, batch_size=16, steps_per_epoch=4, steps_per_call=4, num_train=50)
    found = list(streaming.dispatches(stream, np.arange(64)[None], 1, plan, np.asarray))
    assert [(part.first, part.count) for part in found] == [(0, 2), (0, 1)]
    monkeypatch.setattr(streaming, "_PIECE", 1)
    assert len(list(streaming.pieces(stream, 16))) == 4


def test_each_device_holds_its_rows_only():
    layout = choose_layout(num_seeds=1, batch_size=8, data=4)
    split = load("digits").train
    stream = streaming.Stream(split.images, split.labels, np.arange(16), layout)
    stack = stream.read(np.arange(16), 8)
    for shard in stack.images.addressable_shards:
        assert shard.data.shape == (2, 2, 8, 8, 1)
        np.testing.assert_array_equal(shard.data, np.asarray(stack.images)[shard.index])
    np.testing.assert_array_equal(np.ravel(stack.labels), split.labels[:16])


def test_what_does_not_fit_stays_on_the_host(monkeypatch):
    spec = Spec((10, 10, 1), 90, 10, 10, ())
    monkeypatch.setattr(streaming, "device_bytes", lambda: 20_000)
    assert streaming.wanted(spec, "auto")
    monkeypatch.setattr(streaming, "device_bytes", lambda: 30_000)
    assert not streaming.wanted(spec, "auto") and streaming.wanted(spec, "always")
    assert not streaming.wanted(spec._replace(train_size=10**9), "never")
    with pytest.raises(UserError, match="unknown data.streaming 'some'"):
        experiment.build(tiny_config(**{"data.streaming": "some"}))
