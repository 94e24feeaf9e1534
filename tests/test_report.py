"""The report of real runs, and how it looks in a browser."""

import html
import json
import re
import shutil
import time

import numpy as np
import pytest
from browser import missing, started
from chart_helpers import charts_in, rows_of
from helpers import ROOT, interrupted_run, refused, tiny_config

from supermask_jax import cli, experiment
from supermask_jax.analysis.charts import theme
from supermask_jax.analysis.report.groups import group_runs
from supermask_jax.analysis.rows import Row, Section
from supermask_jax.analysis.runs import read_folders
from supermask_jax.commands import report_arrays
from supermask_jax.config.files import default_identity
from supermask_jax.training.workdir import Workdir

EVIL = "<b>&\"'x"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of a config with a name to escape; what a dense run without checkpoint leaves."""
    root = tmp_path_factory.mktemp("runs")
    config = tiny_config(**{"num_seeds": 2, "seeds_per_program": 2, "mesh.seed": 1, "mesh.data": 1})
    config.name = EVIL
    experiment.run(config, root / "set", quiet=True)
    folder = Workdir(root / "set")
    dense = folder.read_config() | {"name": "dense", "method": {"name": "dense"}}
    lines = [
        {k: v for k, v in line.items() if not k.startswith("layer_")} | {"remaining_weights": 1}
        for line in folder.read_metrics()
    ]
    summary = folder.finished_summary()
    for i, run in enumerate(summary["runs"]):
        run |= {"test_accuracy": 0.25 + i / 2, "remaining_weights": 1, "layers": {}}
    (root / "dense").mkdir()
    (root / "dense" / "config.json").write_text(json.dumps(dense))
    (root / "dense" / "summary.json").write_text(json.dumps(summary))
    (root / "dense" / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return root


def group_of(path):
    return group_runs(read_folders([path]), default_identity())[0]


def written(*folders, out, flags=()):
    assert cli.main(["report", *map(str, folders), f"--out={out}", *flags]) == 0
    return out.read_text()


def test_metrics_hold_the_shares_of_layers_as_the_masks_have_them(runs):
    folder = Workdir(runs / "set")
    for run in folder.finished_summary()["runs"]:
        last = [line for line in folder.read_metrics() if line["seed"] == run["seed"]][-1]
        with np.load(folder.of_seed(folder.masks, run["seed"])) as masks:
            for name in masks.files:
                mask, kept = masks[name], np.count_nonzero(masks[name])
                assert last["layer_density"][name] == round(kept / mask.size, 6)
                inverted = np.sum(mask < 0) / kept
                assert last["layer_inverted"][name] == pytest.approx(inverted, abs=1e-6)
        assert "layer_density" not in run  # `layers` tells them there.


def test_details_are_those_of_the_run(runs):
    group = group_of(runs / "set")
    details = report_arrays.details_of(group)
    assert details.missing == ()
    summary = group.runs[0].summary
    assert np.trace(details.confusion) / details.confusion.sum() == summary["test_accuracy"]
    with np.load(runs / "set" / "masks-s0.npz") as masks:
        for name, scores in details.scores.items():
            np.testing.assert_array_equal(details.masks[name], masks[name])
            kept = {fate: int(counts.sum()) for fate, counts in scores.counts.items()}
            assert kept == {fate: summary["layers"][name][fate] for fate in kept}
            np.testing.assert_allclose(scores.cuts, (-0.01, 0.01), rtol=1e-6)


def test_one_file_says_what_the_summary_says(runs, tmp_path, capsys):
    out = tmp_path / "report.html"
    text = written(runs / "set", runs / "dense", out=out)
    assert "4 runs of 2 configs" in capsys.readouterr().out
    assert EVIL not in text and text.count("&lt;b&gt;&amp;") > 5
    group = group_of(runs / "set")
    found = group.headline
    assert f"{100 * found.accuracy.mean:.2f}" in text and f"{100 * found.accuracy.low:.2f}" in text
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # What is not Vega's.
    assert not re.search(r"(src|href)=\"(?!data:image/png|#)", own)
    assert "http" not in own.replace("http-equiv", "").replace("https://vega.github.io/schema", "")
    assert out.stat().st_size < 1_500_000
    assert f"<code>supermask report {runs / 'set'} " in text
    command = json.loads((runs / "set" / "env.json").read_text())["command"]
    assert command and command in html.unescape(text)


def test_charts_hold_the_numbers_of_the_metrics(runs, tmp_path):
    charts = charts_in(written(runs / "set", runs / "dense", out=tmp_path / "a.html"))
    lines = Workdir(runs / "set").read_metrics()
    place = (EVIL, "validation")
    rows = [r for r in rows_of(charts["accuracy"]) if (r["series"], r["split"]) == place]
    for epoch in {line["epoch"] for line in lines}:
        of_seeds = [100 * line["val_accuracy"] for line in lines if line["epoch"] == epoch]
        shown = [row["value"] for row in rows if row["epoch"] == epoch and row["seed"] != "mean"]
        np.testing.assert_allclose(shown, of_seeds, rtol=1e-4)
        (mean,) = [r for r in rows if r["epoch"] == epoch and r["seed"] == "mean"]
        assert mean["value"] == pytest.approx(np.mean(of_seeds), rel=1e-4)
        assert 0 <= mean["low"] <= mean["high"] <= 100
    kinds = {(row["series"], row["kind"]) for row in rows_of(charts["front"])}
    assert kinds >= {(EVIL, "runs"), (EVIL, "seed"), ("dense", "dense")}


def test_figures_are_files_for_a_paper(runs, tmp_path, capsys):
    text = written(runs / "set", out=tmp_path / "a.html", flags=[f"--figures={tmp_path / 'f'}"])
    names, found = charts_in(text).keys(), {path.name for path in (tmp_path / "f").iterdir()}
    assert found == {f"{name}.{end}" for name in names for end in ("svg", "pdf", "csv")}
    assert f"{len(names)} charts as SVG, PDF and CSV" in capsys.readouterr().out
    for path in (tmp_path / "f").glob("*.svg"):
        width = int(re.search(r'width="(\d+)"', path.read_text())[1])
        assert width / 96 * 25.4 == pytest.approx(84, abs=0.2)
        box = re.search(rb"/MediaBox \[0 0 ([\d.]+)", path.with_suffix(".pdf").read_bytes())
        assert float(box[1]) / 72 * 25.4 == pytest.approx(84, abs=0.2)
    table = (tmp_path / "f" / "loss.csv").read_text()
    assert table.startswith("series,split,seed,epoch,value,low,high,n\n")


def test_quick_reads_no_checkpoint_and_says_so(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(report_arrays, "restore", lambda *args: pytest.fail("restored"))
    text = written(runs / "set", out=tmp_path / "a.html", flags=["--quick"])
    assert "No histograms of scores and no confusion matrix: --quick was given." in text
    assert "Masks of seed 0" in text


def test_a_command_is_named_as_it_was_given(runs, tmp_path):
    out = tmp_path / "report.html"
    (tmp_path / "notes.txt").touch()
    assert cli.main(["report", str(tmp_path), str(runs), "--quick", f"--out={out}"]) == 0
    assert f"<code>supermask report {tmp_path} {runs} --quick" in out.read_text()


def test_what_an_old_run_lacks_is_told(runs, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(runs / "set", old, ignore=shutil.ignore_patterns("checkpoints"))
    lines = [
        {key: value for key, value in line.items() if not key.startswith("layer_")}
        for line in Workdir(old).read_metrics()
    ]
    (old / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = written(old, out=tmp_path / "a.html")
    assert "before the shares of layers were logged" in text
    assert "holds no checkpoint" in text and "Masks of seed 0" in text


def test_a_run_that_is_not_finished_is_reported_as_such(tmp_path, monkeypatch):
    folder = interrupted_run(tmp_path / "run", monkeypatch)
    details = report_arrays.details_of(group_of(folder.path))
    assert details.split == "validation" and details.scores  # Test is not looked at before.
    with folder.locked():
        text = written(folder.path, out=tmp_path / "a.html")
    assert "not finished: epoch 3 of 4." in text and "validation accuracy so far" in text
    assert "another process is training" in text


def test_errors_are_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    line = refused(capsys, "report", str(tmp_path / "empty"))
    assert line == f"error: {tmp_path / 'empty'} holds no run"
    assert not (tmp_path / "empty" / "report.html").exists()


def test_the_papers_points_are_those_of_the_network_and_its_data(runs):
    paper = {"accuracy": "97.48 [97.3, 97.7]", "remaining": "3.77"}
    paper_rule = Section("FCN", paper="Koster et al., 2022")
    flags = ("--config.protocol=paper",)
    row = Row("fcn-published", "configs/fcn.py", flags, paper, section=paper_rule)
    group = group_of(runs / "set")

    def like(**entries):
        known = {"data.name": "mnist", "model.width": 1.0, "protocol": "paper"}
        return group._replace(config=group.config | known | entries)

    rows = [row, row._replace(name="fcn-again"), row._replace(paper={"accuracy": "1"})]
    (point,) = report_arrays.paper_points([like()], rows, ROOT)
    assert (point.accuracy.mean, point.remaining.mean) == (0.9748, 0.0377)
    assert point.label == "Koster et al., 2022, signed"
    others = {"protocol": "validation", "method.name": "edge_popup", "data.subset": 100}
    for name, value in others.items():
        assert report_arrays.paper_points([like(**{name: value})], rows, ROOT) == []
    assert report_arrays.paper_points([group], rows, ROOT) == []
    wide = [row._replace(flags=(*row.flags, "--config.model.width=2.0"))]
    assert report_arrays.paper_points([like()], wide, ROOT) == []


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if reason := missing():
        pytest.skip(reason)
    with started(tmp_path_factory.mktemp("profile")) as found:
        yield found


# What sticks out of the window, but for what scrolls by itself.
_TOO_WIDE = """
return [...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > WIDTH + 1 && !e.closest('.scroll'))
  .map(e => e.tagName + '.' + e.className)
"""
_TEXTS = """
return [...document.querySelectorAll('.vega svg text')]
  .map(e => e.getBoundingClientRect().height).filter(height => height > 0)
"""
_DRAWN = """
return [...document.querySelectorAll('.chart')].filter(e => e.querySelector('.vega svg')).length
"""
_GROUND = "return document.querySelector('.vega svg.marks').style.backgroundColor"


def rgb(colour):
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


def shown(browser, script, wanted):
    """What a script returns, once it is `wanted` or a minute is over."""
    end = time.monotonic() + 60
    while not wanted(found := browser.run(script)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def opened(browser, page, width, **look):
    """A page with all its charts drawn, as on a window that is as high as the page."""
    browser.look(width, **look)
    browser.open(page)
    browser.run("document.querySelectorAll('main details').forEach(d => { d.open = true; })")
    height = browser.run("return document.documentElement.scrollHeight") + 3000
    browser.size(width, height)
    charts = len(charts_in(page.read_text()))
    assert shown(browser, _DRAWN, lambda found: found == charts) == charts
    return charts


def test_the_page_works_in_a_browser(runs, tmp_path, browser):
    page = tmp_path / "report.html"
    written(runs / "set", runs / "dense", out=page)
    browser.requests(), browser.log("browser")
    grounds = {}
    for dark in (False, True):
        for width in (375, 1280):
            # Front and three curves; two of layers, three of scores and one of mistakes.
            assert opened(browser, page, width, dark=dark) == 4 + 6
            assert browser.run(_TOO_WIDE.replace("WIDTH", str(width))) == []
            assert browser.run("return document.documentElement.scrollWidth") == width
            assert min(browser.run(_TEXTS)) > 8  # Small, but read.
        grounds[dark] = browser.run(_GROUND)
    assert grounds == {False: rgb(theme.LIGHT["panel"]), True: rgb(theme.DARK["panel"])}
    pictures = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert browser.run(pictures) and browser.run("return document.images.length") > 20
    unnamed = ".vega:not([aria-label]), img:not([alt])"
    assert browser.run(f"return document.querySelectorAll('{unnamed}').length") == 0
    asked = [url for url in browser.requests() if not url.startswith(("data:", "chrome"))]
    assert asked == [page.as_uri()] * 4
    assert browser.log("browser") == []


def test_pointing_at_a_curve_tells_its_numbers(runs, tmp_path, browser):
    page = tmp_path / "report.html"
    written(runs / "set", out=page, flags=["--quick"])
    opened(browser, page, 1280)
    dots = "[...document.querySelectorAll('#training .vega .mark-symbol.role-mark path')]"
    middle = "return [b.left + b.width / 2, b.top + b.height / 2]"
    x, y = browser.run(f"const b = {dots}[1].getBoundingClientRect(); {middle}")
    for step in range(3):
        browser.tell("Input.dispatchMouseEvent", type="mouseMoved", x=x + step, y=y)
    script = "return document.getElementById('vg-tooltip-element').textContent"
    told = shown(browser, script, bool)
    assert re.search(r"epoch\s*\d.*series.*split\s*(validation|training).*value\s*[\d.]+", told)
    browser.look(1280, dark=True)  # And the theme follows, on the page as it is.
    wanted = rgb(theme.DARK["panel"])
    assert shown(browser, _GROUND, lambda found: found == wanted) == wanted


def test_paper_has_what_is_folded_away(runs, tmp_path, browser):
    page = tmp_path / "report.html"
    written(runs / "set", out=page, flags=["--quick"])
    browser.open(page)
    folded = (
        "return [...document.querySelectorAll('main details')]"
        ".filter(d => !d.open && !d.closest('.vega')).length"
    )
    assert browser.run(folded) == 2
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    assert browser.run(folded) == 0
