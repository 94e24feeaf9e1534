"""Result files, and the pages made of them."""

import json
import math
import runpy
import shutil

import numpy as np
import pytest
from helpers import ROOT

from supermask_jax.analysis import page
from supermask_jax.analysis.intervals import entropy_bits, mean_interval, percent
from supermask_jax.analysis.results import collect
from supermask_jax.analysis.rows import Row, Section, page_order, select
from supermask_jax.errors import Diverged, UserError
from supermask_jax.studies import reproduce
from supermask_jax.training.workdir import Workdir

TINY = ("--config.model.width=0.1", "--config.epochs=2")
TABLE, OTHER = Section("A table", "A note.", "docs/front.svg"), Section("Another")
DIGITS = (*TINY, "--config.data.name=digits")
WISH = {"accuracy": "98.1", "remaining": "3.3"}
ROWS = [
    Row("masked", "configs/quickstart.py", TINY, {"accuracy": "97.5"}, "a mask", TABLE),
    Row("dense", "configs/fcn.py:baseline", DIGITS, {}, "no mask", TABLE, dense=True),
    Row("never", "configs/fcn.py", (), WISH, "a wish", OTHER, accelerator=True),
]
ROWS[0] = ROWS[0]._replace(headline=True)


def real_rows():
    """The rows that are shipped."""
    return runpy.run_path(str(ROOT / "experiments" / "rows.py"))["ROWS"]


def reproduced(rows, seeds, folder, **options):
    """What the rows give in a folder."""
    places = {"root": ROOT, "runs": folder / "runs", "results": folder / "results"}
    return reproduce.reproduce(rows, seeds, **places | options)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce")
    return folder, reproduced(ROWS[:2], [0, 1], folder)


def test_results_hold_every_seed_and_the_mean(done):
    folder, found = done
    stored = json.loads((folder / "results" / "masked.json").read_text())
    assert stored == found[0]
    assert [run["seed"] for run in stored["runs"]] == [0, 1]
    accuracies = [run["test_accuracy"] for run in stored["runs"]]
    assert stored["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert stored["n"] == stored["accuracy"]["n"] == 2
    assert stored["command"] == "python experiments/reproduce.py --rows=masked --seeds=0,1"
    curves = stored["runs"][0]["curves"]
    for name in ("train_loss", "train_accuracy", "val_accuracy", "remaining_weights"):
        assert len(curves[name]) == 2
    assert stored["runs"][0]["seconds"] > 0
    assert {"device", "versions"} <= stored["env"].keys()
    assert stored["config"]["epochs"] == 2
    masks = np.load(folder / "runs" / "masked" / "s0" / "masks.npz")
    bits = sum(entropy_bits([np.sum(m == v) for v in (-1, 0, 1)]) for m in masks.values())
    assert stored["runs"][0]["mask_bytes"] == math.ceil(bits / 8)


def test_finished_runs_are_not_repeated(done):
    folder, found = done
    before = {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("*.json")}
    assert reproduced(ROWS[:1], [0, 1], folder) == found[:1]
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("*.json")}
    # Fewer seeds do not replace more, nor what changes nothing.
    flags = ["--config.data.cache_dir=elsewhere"]
    assert reproduced(ROWS[:1], [1], folder, flags=flags) == found[:1]


def test_a_seed_joins_those_of_another_machine(done, tmp_path):
    folder, found = done
    first, second = tmp_path / "first", tmp_path / "second"
    for results in (first, second):
        reproduced(ROWS[:1], [0], folder, results=results)
    path = second / "masked.json"
    stored = json.loads(path.read_text())
    stored["env"] |= {"git_revision": "of then", "cpu_count": 96}
    path.write_text(json.dumps(stored))
    (joined,) = reproduced(ROWS[:1], [1], folder, results=second)
    revisions = f"of then, {found[0]['env']['git_revision']}"
    env = found[0]["env"] | {"git_revision": revisions, "cpu_count": 96}
    assert joined == {**found[0], "env": env}
    # Where nothing of the file stays, neither does where it ran.
    assert reproduced(ROWS[:1], [0, 1], folder, results=second) == [found[0]]
    # A revision need not be known, nor an entry that there was not yet, at its default.
    del stored["env"]["git_revision"], stored["config"]["compute_dtype"]
    path.write_text(json.dumps(stored))
    (joined,) = reproduced(ROWS[:1], [1], folder, results=second)
    assert joined["n"] == 2 and joined["env"]["git_revision"].startswith("unknown, ")
    # Of another version of JAX, or of another config, a file is replaced.
    for part, entry, value in (("env", "versions", {"jax": "0.1"}), ("config", "batch_size", 7)):
        other = json.loads((first / "masked.json").read_text())
        other[part][entry] = value
        (first / "masked.json").write_text(json.dumps(other))
        (alone,) = reproduced(ROWS[:1], [1], folder, results=first)
        assert [run["seed"] for run in alone["runs"]] == [1]
        (first / "masked.json").unlink()
        reproduced(ROWS[:1], [0], folder, results=first)


def cells(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_comes_from_the_files_and_names_what_is_missing(done):
    folder, found = done
    text = reproduce.results_page(folder / "results", ROWS)
    masked = cells(text, "masked")
    assert masked[1:4] == ["a mask", percent(found[0]["accuracy"]), "97.5"]
    assert masked[4:7] == [percent(found[0]["remaining_weights"]), "", "2"]
    assert cells(text, "dense")[4:8] == ["100", "", "2", ""]
    assert cells(text, "never")[1:6] == ["a wish", "not run", "98.1", "", "3.3"]


def test_sections_notes_and_figures_that_exist(done, tmp_path):
    folder, found = done
    text = page.results_page(ROWS, found)
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == ["## A table", "## Another"]
    assert "A note." in text
    assert "docs/front.svg" not in text
    assert "![A table](docs/front.svg)" in page.results_page(ROWS, found, ["docs/front.svg"])


def test_commands_that_differ_by_the_row_alone_are_one_line(done):
    _, (masked, dense) = done
    text = page.results_page(ROWS, [masked, dense])
    start = "- `python experiments/reproduce.py"
    assert f"{start} --rows=masked,dense --seeds=0,1`" in text
    assert "not run, on an accelerator: `python experiments/reproduce.py --rows=never`" in text
    partial = dense | {"command": f"{dense['command']} --config.epochs=1"}
    text = page.results_page(ROWS, [masked, partial])
    assert f"{start} --rows=dense --seeds=0,1 --config.epochs=1`" in text
    assert cells(text, "dense")[1] == "no mask; with `--config.epochs=1`"


def test_order_on_the_page():
    rows = [Row(name, "", dense="dense" in name) for name in ("b-x", "a-x", "b-dense", "a-dense")]
    assert [row.name for row in page_order(rows)] == ["b-dense", "b-x", "a-dense", "a-x"]


def test_searches_and_tickets_have_their_place(tmp_path):
    numbers = {"val_accuracy": 0.9, "remaining_weights": 0.1, "seconds": 1.0}
    runs = [
        {"point": {"gain": 1.0}, "digest": "a", "seed": 0, **numbers},
        {"point": {"gain": 2.0}, "digest": "b", "seed": 0, **numbers, "val_accuracy": 0.8},
    ]
    log = {"commands": ["python search"], "config": {"name": "net"}, "runs": runs}
    (tmp_path / "search-net.json").write_text(json.dumps(log))
    value = {"mean": 0.97, "low": 0.96, "high": 0.98, "n": 3}
    head = {"criterion": "large_final", "mask1": "rewind", "mask0": "zero", "trained": True}
    level = {**head, "level": 1, "density": 0.8, "test_accuracy": value, "by_seed": {}}
    tickets = {"command": "python lottery", "config": {"lottery": {"untrained": False}}}
    (tmp_path / "lottery-net.json").write_text(json.dumps(tickets | {"rows": [level]}))
    text = reproduce.results_page(tmp_path, ROWS)
    assert "| `gain=1.0` | 10.00 | 90.00 | 1 |" in text
    assert "gain=2.0" not in text  # Not on the front.
    assert "net: 2 runs, 2 points." in text
    assert "- `python search`" in text
    assert "`python lottery`" in text
    assert "| 1 | 80.00 | 97.00 [96.00, 98.00] | 3 |" in text


def test_the_readme_shows_headlines_that_were_run(done):
    _, found = done
    text = page.readme_table(ROWS, found)
    assert cells(text, "masked")[2] == percent(found[0]["accuracy"])
    assert "`dense`" not in text
    assert "`masked`" not in page.readme_table(ROWS, [])


def test_marked_lines():
    text = f"a\n{page.BEGIN}\nold\n{page.END}\nb\n"
    new = page.replace_marked(text, "new")
    assert new == f"a\n{page.BEGIN}\n\nnew\n\n{page.END}\nb\n"
    assert page.replace_marked(new, "new") == new
    for bad in ("", f"{page.BEGIN}\n", f"{page.END}\n{page.BEGIN}\n", text + text):
        with pytest.raises(UserError, match="the README needs the lines"):
            page.replace_marked(bad, "new")


def test_readme_and_results_are_those_of_the_result_files():
    rows, results = real_rows(), ROOT / "results"
    mend = "run: python experiments/reproduce.py --page"
    assert (ROOT / "RESULTS.md").read_text() == reproduce.results_page(results, rows), mend
    readme = (ROOT / "README.md").read_text()
    table = page.readme_table(rows, reproduce.load_results(results, rows))
    assert readme == page.replace_marked(readme, table), mend


def test_every_shipped_row_has_a_config_and_a_name_of_its_own():
    rows = real_rows()
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert reproduce.row_config(row, ROOT, 0).protocol == "paper"


def test_a_damaged_result_file_is_one_line(tmp_path):
    (tmp_path / "masked.json").write_text("{")
    with pytest.raises(UserError, match="masked.json is damaged"):
        reproduce.results_page(tmp_path, ROWS)


def test_a_shorter_run_does_not_replace_a_whole_one(done):
    folder, found = done
    options = {"flags": ["--config.epochs=1"], "runs": folder / "other"}
    with pytest.raises(UserError, match="without --config.epochs=1: give another --results"):
        reproduced(ROWS[:1], [0], folder, **options)
    assert not (folder / "other").exists()
    stored = json.loads((folder / "results" / "masked.json").read_text())
    assert stored == found[0]


def test_a_budget_ends_a_row_between_seeds_and_keeps_what_there_is(done, tmp_path, monkeypatch):
    folder, found = done
    clock = iter([0.0, 1.0, 2.0, 61.0])  # The start, then before each run.
    monkeypatch.setattr(reproduce.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr("supermask_jax.experiment.run", lambda *_, **__: {})  # Finished already.
    options = {"results": tmp_path, "budget_minutes": 1.0}
    partial = reproduced(ROWS[:2], [0, 1], folder, **options)
    assert [result["n"] for result in partial] == [2]
    clock = iter([0.0, 1.0, 61.0])
    partial = reproduced(ROWS[1:2], [0, 1], folder, **options)
    assert [run["seed"] for run in partial[0]["runs"]] == [0]
    assert json.loads((tmp_path / "dense.json").read_text()) == partial[0]


def test_a_run_that_diverges_ends_no_other_and_is_told_of(done, tmp_path, monkeypatch, caplog):
    folder, found = done

    def run(config, path, quiet):
        if "masked" in str(path) and config.seed == 0:
            raise Diverged("training diverged: the loss is nan")

    monkeypatch.setattr("supermask_jax.experiment.run", run)  # The others are finished already.
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    masked, dense = reproduced(ROWS[:2], [0, 1], folder, results=tmp_path)
    assert [run["seed"] for run in masked["runs"]] == [1] and masked["n"] == 1
    assert masked["diverged"] == [{"seed": 0, "failed": "training diverged: the loss is nan"}]
    assert masked["command"].endswith("--seeds=0,1")
    assert "row masked, s0: training diverged" in caplog.text
    assert dense["runs"] == found[1]["runs"] and "diverged" not in dense
    text = reproduce.results_page(tmp_path, ROWS)
    assert cells(text, "masked")[6] == "1 (1 diverged)" and cells(text, "dense")[6] == "2"
    assert "--rows=masked,dense --seeds=0,1`" in text
    assert reproduced(ROWS[:1], [0], folder, results=tmp_path) == []


def test_the_seeds_of_a_set_that_diverged_are_kept(done, tmp_path):
    folder = shutil.copytree(done[0] / "runs" / "masked" / "s0", tmp_path / "set")
    summary = Workdir(folder).finished_summary()
    (folder / "masks.npz").rename(folder / "masks-s0.npz")
    lost = [{"seed": 1, "step": 7}]
    for diverged in (lost, []):
        runs = [summary.get("runs", [summary])[0]]
        names = ("test_accuracy", "remaining_weights")
        means = {name: mean_interval([runs[0][name]])._asdict() for name in names}
        summary = {**runs[0], **means, "num_seeds": 2, "runs": runs, "diverged": diverged}
        (folder / "summary.json").write_text(json.dumps(summary))
        assert collect([folder]).get("diverged", []) == diverged
    assert "diverged" not in collect([folder])


def test_collect_refuses_nothing_silently(tmp_path):
    with pytest.raises(UserError, match="cannot read .*config.json: No such file"):
        collect([tmp_path])


def test_select():
    assert select(ROWS, ["dense", "m*"]) == [ROWS[0], ROWS[1]]  # In the order of the table.
    with pytest.raises(UserError, match="unknown row 'masks': did you mean 'masked'"):
        select(ROWS, ["masks"])
