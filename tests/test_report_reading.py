"""Which runs a report finds in folders, and which of them are one group."""

import math
import re

import pytest
from chart_helpers import rows_of
from test_report_parts import folder, grouped, lines

from supermask_jax.analysis import runs
from supermask_jax.analysis.report import page
from supermask_jax.analysis.report.details import Details
from supermask_jax.errors import UserError


def told(group):
    """What the head of a page says of a group's state."""
    text = page.render(page.content([group], [Details(0)], []), page.Origin("command", "time"))
    *states, _ = re.findall(r'<p class="state">(.*?)</p>', text)
    return " ".join(states)


def test_runs_that_differ_in_seed_alone_are_one_group(tmp_path):
    groups = grouped(
        folder(tmp_path / "a", lines(), summary={"test_accuracy": 0.9, "seed": 0}),
        folder(tmp_path / "b", lines(seed=1), {"seed": 1}),
        folder(tmp_path / "c", lines(), {"method": {"name": "signed", "density": 0.1}}),
        folder(tmp_path / "d", [*lines(), *lines(seed=1)], {"name": "set", "num_seeds": 2}),
        folder(tmp_path / "e", lines(), {"name": "set", "epochs": 9}),
    )
    assert [[run.seed for run in group.runs] for group in groups] == [[0, 1], [0], [0, 1], [0]]
    labels = ["a", "a, density 0.1", "set, epochs 3", "set, epochs 9"]
    assert [group.label for group in groups] == labels
    assert [bool(run.summary) for run in groups[0].runs] == [True, False]
    assert not groups[0].finished


def test_methods_tell_runs_apart_before_anything_else_does(tmp_path):
    signed = {"name": "signed", "anneal": 0.5}
    configs = [
        {"method": {"name": "bernoulli", "tau": 1.0}},
        {"method": signed, "batch_size": 64},
        {"method": signed},
        {"method": signed | {"anneal": 0.0}},
        {"method": {"name": "dense"}, "optimizer": {"name": "adamw"}},
        {"method": {"name": "dense"}, "optimizer": {"name": "sgdw"}},
    ]
    groups = grouped(*(folder(tmp_path / str(i), lines(), c) for i, c in enumerate(configs)))
    assert [group.label for group in groups] == [
        "a, bernoulli",
        "a, signed, batch_size 64",
        "a, signed, batch_size 128, anneal 0.5",
        "a, signed, batch_size 128, anneal 0.0",
        "a, dense, adamw",
        "a, dense, sgdw",
    ]


def test_few_seeds_have_no_bars_on_the_front(tmp_path):
    def bars(count):
        made = []
        for seed in range(count):
            found = {"seed": seed, "test_accuracy": 0.8 + 0.02 * seed, "remaining_weights": 0.5}
            made.append(
                folder(tmp_path / f"{count}-{seed}", lines(seed=seed), {"seed": seed}, found)
            )
        chart = page.content(grouped(*made), [Details(0)], [])["charts"]["front"]
        (row,) = [row for row in rows_of(chart) if row["kind"] == "runs"]
        return row["accuracy_low"] != "" and not math.isnan(float(row["accuracy_low"]))

    assert bars(5) and not bars(4)


@pytest.mark.parametrize("finished", [True, False])
def test_seeds_that_diverged_are_left_out_and_told(tmp_path, finished):
    dead = lines(1, seed=1, val_accuracy=0.0)
    done = [{"seed": seed, "test_accuracy": 0.5, "remaining_weights": 0.3} for seed in (0, 2)]
    lost = [{"seed": 1, "step": 7}, {"seed": 3, "step": 2}]
    summary = {"runs": done, "diverged": lost} if finished else None
    parts = {"seeds_0-2": done, "diverged": {"1": 7, "3": 2}}
    every = [*lines(), *dead, *lines(seed=2)]
    (group,) = grouped(folder(tmp_path / "set", every, {"num_seeds": 4}, summary, **parts))
    assert [run.seed for run in group.runs] == [0, 2] and group.finished
    found = group.curve("val_accuracy")
    assert [(value.mean, value.n) for value in found.values] == [(0.4, 2)] * 3
    again = group._replace(runs=group.runs[:1])
    assert group.diverged == again.diverged == [(1, 7), (3, 2)]
    assert told(group).endswith("what diverged: seed 1 by step 7, seed 3 by step 2.")
    only = folder(tmp_path / "only", dead, {"num_seeds": 4}, diverged={"1": 7})
    with pytest.raises(UserError, match="no finished epoch of a seed that did not diverge"):
        grouped(only)


def test_a_run_alone_that_diverged_is_left_out_beside_others_and_else_shown(tmp_path):
    one = lines(1, seed=1, val_accuracy=0.0)
    dead = folder(tmp_path / "dead", one, {"seed": 1}, diverged={"1": 7})
    well = folder(tmp_path / "well", lines())
    (group,) = grouped(dead, well)
    assert [run.seed for run in group.runs] == [0] and group.diverged == [(1, 7)]
    assert not group.lost and "without what diverged: seed 1 by step 7." in told(group)
    (group,) = grouped(dead)
    assert [run.seed for run in group.runs] == [1] and group.lost
    assert group.headline.what == "validation accuracy before it diverged"
    wanted = "a diverged: seed 1 by step 7 in epoch 2 of 3. This is what was there before."
    assert told(group) == wanted
    first = folder(tmp_path / "first", [], {"seed": 1}, diverged={"1": 7})
    with pytest.raises(UserError, match="first diverged by step 7, in its first epoch: nothing"):
        grouped(first)


def test_of_several_folders_what_holds_no_run_is_left_out(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    one = folder(tmp_path / "one", lines())
    (tmp_path / "rows" / "a").mkdir(parents=True)
    deep = folder(tmp_path / "rows" / "a" / "s1", lines(seed=1))
    new = folder(tmp_path / "rows" / "new", [])
    empty, file = tmp_path / "empty", tmp_path / "notes.txt"
    empty.mkdir(), file.touch()
    found = runs.read_folders(sorted(tmp_path.iterdir()))
    assert [run.folder for run in found] == [one, deep]
    assert [record.message for record in caplog.records] == [
        f"left out: {empty} holds no run",
        f"left out: {file} holds no run",
        f"left out: the run in {new} has no finished epoch yet: nothing to report",
    ]
    with pytest.raises(UserError, match="empty holds no run"):
        runs.read_folders([empty, file])
    assert [run.folder for run in runs.read_folders([tmp_path / "rows"])] == [deep]


def test_entries_that_an_old_run_lacks_are_at_their_defaults(tmp_path):
    old = folder(tmp_path / "old", lines())
    new = folder(tmp_path / "new", lines(seed=1), {"seed": 1, "dtype": "float32"})
    defaults = {"dtype": "float32", "seed": 0, "method": {"name": "dense", "rank": 3}}
    assert len(grouped(old, new, defaults=defaults)) == 1
    assert len(grouped(old, new, defaults={"dtype": "bfloat16"})) == 2


def test_folders_without_a_run_say_so(tmp_path):
    inside = folder(tmp_path / "inside", lines())
    assert [run.folder for run in runs.read_folders([tmp_path])] == [inside]
    with pytest.raises(UserError, match="holds no run$"):
        runs.read_folders([tmp_path / "nowhere"])
    empty = folder(tmp_path / "empty", "")
    with pytest.raises(UserError, match="no finished epoch"):
        runs.read_folders([empty])
    with pytest.raises(UserError, match="of seed 0: give one of them"):
        grouped(tmp_path / "inside", tmp_path / "inside")
