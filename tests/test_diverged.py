"""A seed of a set that diverges: the others go on as if it had not been there."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from helpers import stopped_run, tiny_config
from test_seeds import assert_same_runs, lines_of

from supermask_jax import cli, experiment
from supermask_jax.commands import restore, train
from supermask_jax.errors import Diverged, UserError
from supermask_jax.training import diverged, loop
from supermask_jax.training.diverged import DivergedSeeds
from supermask_jax.training.workdir import Workdir

STEPS = 11  # in an epoch
SEEDS = (5, 6, 7)


def set_config(**entries):
    return tiny_config(epochs=4, num_seeds=3, seed=5, seed_loop="vmap", **entries)


def before(monkeypatch, step, change):
    """Has the dispatch of `step`, from 0, begin with change(seeds, state, frozen) -> both."""
    make = loop.make_train_steps

    def changed(trainer):
        run = make(trainer)

        def train_steps(state, frozen, examples, order, first, count):
            at = int(np.max(state.step))
            if at <= step < at + count:
                state, frozen = change(trainer.seeds, state, frozen)
            return run(state, frozen, examples, order, first, count)

        return train_steps

    monkeypatch.setattr(loop, "make_train_steps", changed)


def poison(monkeypatch, *seeds, step):
    """Lets the losses of `seeds` overflow in the dispatch of `step`, from 0; gradients follow."""

    def change(all_seeds, state, frozen):
        scales = np.float32([1e30 if seed in seeds else 1.0 for seed in all_seeds])
        scaled = partial(jax.tree.map, lambda x: x * scales.reshape(-1, *[1] * (x.ndim - 1)))
        params = scaled(state.trainable["params"])  # Trained weights are in the state.
        state = state.replace(trainable=state.trainable | {"params": params})
        return state, frozen | {k: scaled(v) for k, v in frozen.items() if k == "weights"}

    before(monkeypatch, step, change)


def spoil(monkeypatch, part, *seeds, step):
    """Makes an entry of each layer of `part` NaN before the dispatch of `step`; masks hide it."""

    def change(all_seeds, state, frozen):
        rows = np.float32([np.nan if seed in seeds else 0.0 for seed in all_seeds])
        mark = partial(jax.tree.map, lambda x: x.at[:, 0, 0].add(rows) if x.ndim > 2 else x)
        if part == "scores":
            scores = mark(state.trainable["scores"])
            return state.replace(trainable=state.trainable | {"scores": scores}), frozen
        return state.replace(opt_state=mark(state.opt_state)), frozen

    before(monkeypatch, step, change)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The set in which all goes well."""
    path = tmp_path_factory.mktemp("whole") / "set"
    return path, experiment.run(set_config(seeds_per_program=3), path, quiet=True)


@pytest.fixture
def without_6(whole, tmp_path):
    """The folder `whole` as if there had been no seed 6 after its first epoch."""
    path = tmp_path / "without_6"
    path.mkdir()
    lines = [x for x in lines_of(whole[0]) if x["seed"] != 6 or x["epoch"] < 2]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for seed in SEEDS:
        (path / f"masks-s{seed}.npz").symlink_to(whole[0] / f"masks-s{seed}.npz")
    return path


def assert_6_is_out(path, summary, whole, without_6, *, step):
    """Seed 6 has one line and nothing else; the others are as in `whole`."""
    (path / "masks-s6.npz").symlink_to(whole[0] / "masks-s6.npz")  # It must not be there.
    assert not (path / "ticket-s6.safetensors").exists()
    assert_same_runs(path, without_6)
    assert summary["diverged"] == [{"seed": 6, "step": step}]
    assert [run["seed"] for run in summary["runs"]] == [5, 7]
    for run, known in zip(summary["runs"], whole[1]["runs"][::2], strict=True):
        assert run["test_loss"] == pytest.approx(known["test_loss"], rel=2e-3)
    accuracies = [run["test_accuracy"] for run in summary["runs"]]
    assert summary["test_accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert summary["test_accuracy"]["n"] == 2 and summary["num_seeds"] == 3


@pytest.mark.parametrize(
    "entries",
    [
        {"seeds_per_program": 3, "steps_per_call": 1},  # together, step by step
        {"seeds_per_program": 1, "steps_per_call": 4},  # each alone
    ],
)
def test_the_set_goes_on_without_it(whole, without_6, tmp_path, monkeypatch, caplog, entries):
    poison(monkeypatch, 6, step=STEPS + 5)
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    path, config = tmp_path / "set", set_config(**entries)
    with caplog.at_level("WARNING", logger="supermask_jax"):
        summary = experiment.run(config, path, quiet=True)
    step = STEPS + {1: 6, 4: 8}[config.steps_per_call]  # The end of the dispatch.
    assert_6_is_out(path, summary, whole, without_6, step=step)
    assert f"seed 6 diverged: its loss is nan by step {step}; the set goes on" in caplog.text
    assert f"leave out the seeds that diverged: 6 by step {step}" in caplog.text
    with pytest.raises(UserError, match=f"seed 6 diverged by step {step}: give another --seed"):
        restore.ticket_of(path, 6)
    assert restore.ticket_of(path, 7)[0].accuracy["value"] == summary["runs"][1]["test_accuracy"]
    assert "(mean of 2 seeds)" in train._result(summary)
    monkeypatch.undo()
    assert experiment.run(config, path, quiet=True) == summary


@pytest.mark.parametrize("calls", [2 * STEPS + 1, STEPS + 8])  # After its epoch, and in it.
def test_stopped_after_it_diverged_and_resumed(whole, without_6, tmp_path, monkeypatch, calls):
    path, config = tmp_path / "set", set_config(seeds_per_program=3, steps_per_call=1)
    poison(monkeypatch, 6, step=STEPS + 5)
    stopped_run(config, path, monkeypatch, calls)
    # Its losses may be finite again: a mask of scores that are NaN hides every weight.
    summary = experiment.run(config, path, quiet=True)
    assert_6_is_out(path, summary, whole, without_6, step=STEPS + 6)


def test_killed_before_the_next_checkpoint_it_has_another_chance(whole, tmp_path, monkeypatch):
    """A note that is younger than the checkpoint is dropped, like the lines that are."""
    path, config = tmp_path / "set", set_config(seeds_per_program=3, steps_per_call=1)
    stopped_run(config, path, monkeypatch, STEPS + 5)
    notes = DivergedSeeds(Workdir(path))
    notes.note(6, STEPS + 6)
    notes.note(9, STEPS + 6)  # Of another program.
    summary = experiment.run(config, path, quiet=True)
    assert notes.read() == {9: STEPS + 6}
    assert_same_runs(path, whole[0])
    assert len(summary["runs"]) == 3


def test_from_the_first_step_on(whole, tmp_path, monkeypatch):
    """It has no line at all, which is no damage to the metrics of a set that is resumed."""
    path = tmp_path / "set"
    config = set_config(seeds_per_program=3, tensorboard=True)
    poison(monkeypatch, 5, 6, step=0)
    stopped_run(config, path, monkeypatch, 3)
    summary = experiment.run(config, path, quiet=True)
    assert [(x["seed"], x["epoch"]) for x in lines_of(path)] == [(7, n) for n in (1, 2, 3, 4)]
    assert [found["seed"] for found in summary["diverged"]] == [5, 6]
    found = restore.ticket_of(path)[0]  # Of the first seed that there is.
    assert found.accuracy["value"] == summary["test_accuracy"]["mean"]
    assert summary["runs"][0]["test_loss"] == pytest.approx(whole[1]["runs"][2]["test_loss"], 2e-3)
    events = b"".join(p.read_bytes() for p in (path / "tensorboard").iterdir())
    assert b"seed_7/val_loss" in events and b"seed_6" not in events


def test_all_of_them_is_an_error_and_at_once(tmp_path, monkeypatch):
    config = set_config(seeds_per_program=1, steps_per_call=4)
    config.method = {"name": "dense"}  # The loss stays not finite: it is told of once.
    poison(monkeypatch, 5, 6, step=STEPS)
    poison(monkeypatch, 7, step=2 * STEPS - 1)  # Seen after the epoch, and before its line.
    dispatches = []
    monkeypatch.setattr(
        "supermask_jax.training.loop.Progress.step", lambda *place: dispatches.append(place)
    )
    for _ in range(2):  # The second time it is read.
        with pytest.raises(Diverged, match="none of the 3 seeds stayed finite"):
            experiment.run(config, tmp_path / "set", quiet=True)
        assert [(x["seed"], x["epoch"]) for x in lines_of(tmp_path / "set")] == [
            (seed, 1) for seed in SEEDS
        ]
        notes = DivergedSeeds(Workdir(tmp_path / "set")).read()
        assert notes == {5: STEPS + 4, 6: STEPS + 4, 7: 2 * STEPS}
    assert not (tmp_path / "set" / "summary.json").exists()
    # Of three in an epoch; the third of the second epoch is not begun where the first one failed.
    assert len(dispatches) == 5 + 5 + 6


def test_a_run_alone_ends_and_its_folder_and_report_say_so(tmp_path, monkeypatch):
    config, path = tiny_config(epochs=4, seed=5, steps_per_call=1), tmp_path / "run"
    poison(monkeypatch, 5, step=STEPS + 5)
    with pytest.raises(Diverged, match=f"by step {STEPS + 6}; the last checkpoint is from before"):
        experiment.run(config, path, quiet=True)
    monkeypatch.undo()
    assert DivergedSeeds(Workdir(path)).read() == {5: STEPS + 6}
    assert cli.main(["report", str(path), f"--out={tmp_path / 'report.html'}"]) == 0
    text = (tmp_path / "report.html").read_text()
    assert f"tiny diverged: seed 5 by step {STEPS + 6} in epoch 2 of 4" in text
    assert "not finished" not in text and "Most confused pairs" in text  # Of its checkpoint.
    assert experiment.run(config, path, quiet=True)["epoch"] == 4  # It goes on from there.
    assert DivergedSeeds(Workdir(path)).read() == {}


def test_it_is_not_waited_for_once_the_others_are_stopped(whole, tmp_path, monkeypatch):
    """By their schedule, which is simulated."""
    calls = []

    def stopped(opt_state):
        calls.append(opt_state)
        return np.array([True, False, True]) & (len(calls) > 2)

    monkeypatch.setattr(diverged, "stopped", stopped)
    poison(monkeypatch, 6, step=0)
    summary = experiment.run(set_config(seeds_per_program=3), tmp_path / "set", quiet=True)
    assert [(run["seed"], run["epoch"]) for run in summary["runs"]] == [(5, 2), (7, 2)]


HIDDEN = "scores, parameters, statistics or optimiser state are not finite"


@pytest.mark.parametrize(("part", "per_call"), [("scores", 1), ("moments", 4)])
def test_what_masks_hide_is_no_trained_network(tmp_path, monkeypatch, part, per_call):
    config = tiny_config(epochs=2, seed=5, steps_per_call=per_call)
    spoil(monkeypatch, part, 5, step=STEPS - 1)  # In the last dispatch of the first epoch.
    with pytest.raises(Diverged, match=f"the {HIDDEN} by step {STEPS}; the last checkpoint"):
        experiment.run(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "summary.json").exists() and not lines_of(tmp_path / "run")


@pytest.mark.parametrize("loop", ["vmap", "unroll"])
def test_a_set_goes_on_without_what_masks_hide(tmp_path, monkeypatch, caplog, loop):
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    config = set_config(seeds_per_program=3, steps_per_call=4)
    config.epochs, config.seed_loop = 2, loop
    spoil(monkeypatch, "scores", 6, step=STEPS)
    with caplog.at_level("WARNING", logger="supermask_jax"):
        summary = experiment.run(config, tmp_path / "set", quiet=True)
    assert f"seed 6 diverged: its {HIDDEN} by step {STEPS + 4}; the set goes on" in caplog.text
    assert summary["diverged"] == [{"seed": 6, "step": STEPS + 4}]
    assert [run["seed"] for run in summary["runs"]] == [5, 7]
