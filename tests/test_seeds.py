"""Sets of seeds: one folder, any split into programs, resumed as a whole."""

import json

import numpy as np
import pytest
from helpers import stopped_run, tiny_config

from supermask_jax import experiment
from supermask_jax.errors import UserError
from supermask_jax.training import memory
from supermask_jax.training.workdir import Workdir


def set_config(**entries):
    return tiny_config(num_seeds=3, seed=5, **entries)


def lines_of(path):
    return sorted(Workdir(path).read_metrics(), key=lambda line: (line["seed"], line["epoch"]))


def masks_of(path, seed):
    """The masks of a run, or of one of a set."""
    folder = Workdir(path)
    return folder.masks if folder.masks.exists() else folder.of_seed(folder.masks, seed)


def assert_same_runs(path, other):
    """Same lines and masks within tolerance; nothing doubled, nothing missing."""
    lines, expected = lines_of(path), lines_of(other)
    assert [(x["seed"], x["epoch"]) for x in lines] == [(x["seed"], x["epoch"]) for x in expected]
    for line, known in zip(lines, expected, strict=True):
        for name in known.keys() - {"seconds"}:
            assert line[name] == pytest.approx(known[name], rel=2e-3, abs=2e-3)
    for seed in {line["seed"] for line in lines}:
        masks, known = (np.load(masks_of(p, seed)) for p in (path, other))
        for name in known.files:
            assert np.mean(masks[name] != known[name]) < 1e-3


@pytest.fixture(scope="module")
def one_after_another(tmp_path_factory):
    path = tmp_path_factory.mktemp("set") / "set"
    summary = experiment.run(set_config(seeds_per_program=1), path, quiet=True)
    return path, summary


def test_a_set_is_the_runs_of_its_seeds(one_after_another, tmp_path):
    path, summary = one_after_another
    assert [run["seed"] for run in summary["runs"]] == [5, 6, 7]
    single = experiment.run(tiny_config(seed=6), tmp_path / "one", quiet=True)
    run = summary["runs"][1]
    for name in single.keys() - {"seconds", "name", "protocol", "data"}:
        assert run[name] == single[name]
    accuracies = [run["test_accuracy"] for run in summary["runs"]]
    assert summary["test_accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert summary["test_accuracy"]["n"] == 3
    masks, known = np.load(path / "masks-s6.npz"), np.load(tmp_path / "one" / "masks.npz")
    for name in known.files:
        np.testing.assert_array_equal(masks[name], known[name])


@pytest.mark.parametrize("loop_name, size", [("vmap", 3), ("unroll", 2)])
def test_seeds_together_are_seeds_one_after_another(one_after_another, tmp_path, loop_name, size):
    config = set_config(seeds_per_program=size, seed_loop=loop_name)
    summary = experiment.run(config, tmp_path / "set", quiet=True)
    assert_same_runs(tmp_path / "set", one_after_another[0])
    assert len(summary["runs"]) == 3


def test_a_stopped_set_goes_on_as_it_was_split(one_after_another, tmp_path, monkeypatch):
    path = tmp_path / "set"
    stopped_run(set_config(seeds_per_program=2), path, monkeypatch, 5)
    assert len(lines_of(path)) == 2 * 3 + 2  # Two seeds to their end, the third stopped in epoch 3.
    with (path / "metrics.jsonl").open("a") as file:
        beyond = lines_of(path)[-1] | {"seed": 7, "epoch": 3, "step": 33}
        file.write(json.dumps(beyond) + "\n{torn")
    # Another split and mesh would do: what is there decides on the split.
    again = set_config(seeds_per_program=1)
    again.mesh.data = 4
    summary = experiment.run(again, path, quiet=True)
    assert_same_runs(path, one_after_another[0])
    assert summary == experiment.run(set_config(), path, quiet=True)


def test_a_schedule_that_stops_seeds_stops_each_at_its_own_epoch(tmp_path):
    plateau = {"name": "plateau", "patience": 3, "reductions": 1, "factor": 0.5, "cooldown": 0}
    plateau |= {"start": 2, "min_delta": 0.05, "original_quirks": False}
    lasts = {}
    for name, size in (("together", 3), ("alone", 1)):
        config = set_config(epochs=20, seeds_per_program=size)
        config.schedule = plateau
        experiment.run(config, tmp_path / name, quiet=True)
        lasts[name] = {line["seed"]: line["epoch"] for line in lines_of(tmp_path / name)}
    assert_same_runs(tmp_path / "together", tmp_path / "alone")
    assert lasts["together"] == lasts["alone"]
    assert len(set(lasts["alone"].values())) > 1 and max(lasts["alone"].values()) < 20


def test_seeds_that_do_not_fit_are_refused_with_how_many_do(tmp_path, monkeypatch):
    each = memory.plan_step(experiment.build(set_config()), (8, 8, 1)).peak
    monkeypatch.setattr(memory, "free_memory", lambda: 5 * each / 0.69)
    with pytest.raises(UserError, match=r"99 seeds .*at most 5, or lower config.batch_size"):
        experiment.programs(tiny_config(num_seeds=100, seeds_per_program=99))
    monkeypatch.setattr(memory, "free_memory", lambda: each)
    with pytest.raises(UserError, match=r"2 seeds .*more than is free: lower config.batch_size"):
        experiment.run(set_config(seeds_per_program=2), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_an_accelerator_takes_as_many_seeds_as_fit_in_equal_parts(monkeypatch):
    job = experiment.build(set_config())
    each = memory.plan_step(job, (8, 8, 1)).peak
    monkeypatch.setattr(memory.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(memory.jax, "device_count", lambda: 1)
    monkeypatch.setattr(memory, "free_memory", lambda: 12 * each / 0.69)

    def split(num_seeds, convolutional=False):
        trainer = job._replace(convolution="products" if convolutional else "")
        return memory.seeds_per_program(trainer, (8, 8, 1), num_seeds, 0)

    assert split(30) == 10
    assert split(7) == 7
    assert split(30, convolutional=True) == 1
    # Of two devices each gets its share: 12 + 12 fit, and the parts are whole rounds.
    monkeypatch.setattr(memory.jax, "device_count", lambda: 2)
    assert split(50) == 16
    assert split(30, convolutional=True) == 2
    monkeypatch.setattr(memory.jax, "default_backend", lambda: "cpu")
    assert split(30) == 1


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"seeds_per_program": -1}, "config.seeds_per_program must be at least 0"),
        ({"seed_loop": "scan"}, "seed_loop"),
        ({"mesh.seed": 2}, "config.mesh.seed must be 0 or 1 for one seed"),
        ({"seed": 2**32 - 2, "num_seeds": 3}, "config.seed must be below"),
    ],
)
def test_impossible_entries_are_refused(entries, said):
    with pytest.raises(UserError, match=said):
        experiment.build(tiny_config(**entries))
