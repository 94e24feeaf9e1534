"""The report of real runs, and how it looks in a browser."""

import html
import json
import re
import shutil

import numpy as np
import pytest
from browser import missing, started
from helpers import ROOT, interrupted_run, tiny_config
from PIL import Image

from supermask_jax import cli, experiment
from supermask_jax.analysis.report import numbers, reading
from supermask_jax.analysis.rows import Row
from supermask_jax.commands import report_arrays
from supermask_jax.commands.report import main
from supermask_jax.config_files import default_identity
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
    dense = json.loads(folder.config.read_text()) | {"name": "dense", "method": {"name": "dense"}}
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
    return reading.group_runs(reading.read_folders([path]), default_identity())[0]


def written(*folders, out, flags=()):
    assert main([*map(str, folders), f"--out={out}", *flags]) == 0
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
    found = numbers.headline(group_of(runs / "set"))
    assert f"{100 * found.accuracy.mean:.2f}" in text and f"{100 * found.accuracy.low:.2f}" in text
    assert not re.search(r"(src|href)=\"(?!data:image/png|#)", text)
    assert "http" not in text.replace("http-equiv", "")
    assert out.stat().st_size < 400_000
    assert f"<code>supermask report {runs / 'set'} " in text
    command = json.loads((runs / "set" / "env.json").read_text())["command"]
    assert command and html.escape(command.split()[-1]) in text


def test_quick_reads_no_checkpoint_and_says_so(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(report_arrays, "_restore", lambda *args: pytest.fail("restored"))
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
    assert main([str(tmp_path / "empty")]) == 1
    error = capsys.readouterr().err
    assert error == f"error: {tmp_path / 'empty'} holds no run\n"
    assert not (tmp_path / "empty" / "report.html").exists()


def test_the_papers_points_are_those_of_the_network_and_its_data(runs):
    paper = {"accuracy": "97.48 [97.3, 97.7]", "remaining": "3.77"}
    row = Row("fcn-published", "configs/fcn.py", paper=paper)
    group = group_of(runs / "set")
    like = group._replace(config=group.config | {"data.name": "mnist", "model.width": 1.0})
    rows = [row, row._replace(name="fcn-again"), row._replace(paper={"accuracy": "1"})]
    points = report_arrays.paper_points([like], rows, ROOT)
    assert [(point.accuracy.mean, point.remaining.mean) for point in points] == [(0.9748, 0.0377)]
    assert report_arrays.paper_points([group], rows, ROOT) == []
    other = like._replace(config=like.config | {"method.name": "edge_popup"})
    assert report_arrays.paper_points([other], rows, ROOT) == []
    wide = [row._replace(flags=("--config.model.width=2.0",))]
    assert report_arrays.paper_points([like], wide, ROOT) == []


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
return [...document.querySelectorAll('svg.chart text')]
  .map(e => e.getBoundingClientRect().height).filter(height => height > 0)
"""


def test_the_page_works_in_a_browser(runs, tmp_path, browser):
    page = tmp_path / "report.html"
    written(runs / "set", runs / "dense", out=page)
    browser.requests(), browser.log("browser")
    browser.open(page)
    grounds = {}
    for dark in (False, True):
        for width in (375, 1280):
            browser.look(width, dark=dark)
            assert browser.run(_TOO_WIDE.replace("WIDTH", str(width))) == []
            assert browser.run("return document.documentElement.scrollWidth") == width
            assert min(browser.run(_TEXTS)) > 8  # Small, but read.
        browser.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as image:
            grounds[dark] = image.convert("L").getpixel((2, 2))
    assert grounds[False] > 230 and grounds[True] < 40
    charts = browser.run("return document.querySelectorAll('svg.chart').length")
    # Front and three curves; two of layers, three of scores and one of mistakes.
    assert charts == 4 + 6
    pictures = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert browser.run(pictures) and browser.run("return document.images.length") > 20
    unnamed = (
        "return document.querySelectorAll('svg.chart:not([aria-label]), img:not([alt])').length"
    )
    assert browser.run(unnamed) == 0
    asked = [url for url in browser.requests() if not url.startswith(("data:", "chrome"))]
    assert asked == [page.as_uri()]
    assert browser.log("browser") == []


def test_pointing_at_a_curve_tells_its_numbers(runs, tmp_path, browser):
    page = tmp_path / "report.html"
    written(runs / "set", out=page, flags=["--quick"])
    browser.open(page)
    browser.look(1280)
    told = browser.run(
        """
        const mark = document.querySelector('#training .hit rect');
        const box = mark.getBoundingClientRect();
        mark.dispatchEvent(new PointerEvent('pointermove',
          {bubbles: true, clientX: box.left + 2, clientY: box.top + 2}));
        return document.getElementById('tip').textContent;
        """
    )
    assert re.match(r"epoch 1\nvalidation  [\d.]+ \[-?[\d.]+, [\d.]+\]\ntraining  ", told)


def test_paper_has_what_is_folded_away(runs, tmp_path, browser):
    page = tmp_path / "report.html"
    written(runs / "set", out=page, flags=["--quick"])
    browser.open(page)
    folded = "return [...document.querySelectorAll('details')].filter(d => !d.open).length"
    assert browser.run(folded) == 2
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    assert browser.run(folded) == 0


def test_the_page_is_whole_without_its_script(runs, tmp_path, browser):
    page = tmp_path / "report.html"
    text = written(runs / "set", out=page, flags=["--quick"])
    page.write_text(re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL))
    browser.open(page)
    tips = browser.run("return document.querySelectorAll('#training .hit > title').length")
    assert tips == 3 * 3  # an epoch and chart
