"""The front of accuracy against remaining weights: which points, and the drawing."""

import json
import math
import xml.etree.ElementTree as ElementTree

import pytest
from chart_helpers import rows_of
from helpers import ROOT, refused

from supermask_jax import cli
from supermask_jax.analysis import front
from supermask_jax.analysis.charts import theme
from supermask_jax.analysis.charts.front import front_of_rows
from supermask_jax.analysis.front import Front, Point
from supermask_jax.analysis.intervals import Interval
from supermask_jax.analysis.rows import Row, Section

ROWS = [
    Row(f"net-{name}", "configs/fcn.py", section=Section("A network", paper="Some paper"))
    for name in ("best", "published", "baseline", "never")
]


def point(label, remaining, accuracy, half=math.nan):
    return Point(
        label,
        Interval(remaining, remaining - half / 10, remaining + half / 10, 3),
        Interval(accuracy, accuracy - half, accuracy + half, 3),
    )


def result(name, remaining, accuracy, dense=False, paper=None):
    place = point(name, remaining, accuracy, 0.002)
    run = {"seed": 0, "test_accuracy": accuracy, "remaining_weights": remaining}
    found = {
        "row": name,
        "remaining_weights": place.remaining._asdict(),
        "accuracy": place.accuracy._asdict(),
        "paper": paper or {},
        "env": {"versions": {}, "backend": "cpu", "device": "cpu", "cpu_count": 2},
        "runs": [run | {"layer_densities": {} if dense else {"dense1/kernel": remaining}}],
    }
    return found | {"command": "", "config": {}, "n": 3, "seconds": 1.0, "mask_bytes": 9}


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr("supermask_jax.commands.front.find_checkout", lambda: (ROOT, ROWS))


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    paper = {"accuracy": "97.48 [97.3, 97.7]", "remaining": "3.77"}
    for found in (
        result("net-best", 0.024, 0.982),
        result("net-published", 0.035, 0.976, paper=paper),
        result("net-baseline", 1.0, 0.977, dense=True, paper={"accuracy": "97.42"}),
    ):
        (folder / f"{found['row']}.json").write_text(json.dumps(found))
    return folder


def test_the_front_worked_by_hand():
    points = [
        point("more of both", 0.05, 0.98),
        point("fewer, worse", 0.01, 0.97),
        point("beaten in both", 0.06, 0.97),
        point("as accurate, more weights", 0.02, 0.97),
        point("as many, worse", 0.05, 0.975),
        point("twin", 0.05, 0.98),
    ]
    assert front.on_front(points) == [True, True, False, False, False, True]


def test_best_under_a_bound():
    points = [point("a", 0.02, 0.97), point("b", 0.031, 0.98), point("c", 0.032, 0.99)]
    assert front.best_under(points, 0.031).label == "b"
    assert front.best_under([*points, point("d", 0.03, 0.98)], 0.031).label == "d"
    assert front.best_under(points, 0.01) is None


def test_points_of_a_log_are_means_over_seeds():
    def run(value, seed, accuracy):
        point = {"gain": value}
        numbers = {"val_accuracy": accuracy, "remaining_weights": 0.1}
        return {"point": point, "digest": str(value), "seed": seed, **numbers}

    failed = {"point": {"gain": 3.0}, "digest": "3", "seed": 0, "failed": "training diverged"}
    a, b = front.search_points({"runs": [run(1, 0, 0.8), run(2, 0, 0.7), run(1, 1, 0.9), failed]})
    assert (a.label, a.accuracy.n, b.label, b.accuracy.n) == ("gain=1", 2, "gain=2", 1)
    assert a.accuracy.mean == pytest.approx(0.85)


def test_points_of_result_files():
    paper = {"accuracy": "97.48 [97.3, 97.7]", "remaining": "3.77"}
    results = [
        result("net-best", 0.02, 0.98),
        result("net-published", 0.035, 0.976, paper=paper),
        result("net-released", 0.02, 0.95, paper=paper),
        result("net-baseline", 1.0, 0.977, dense=True, paper={"accuracy": "97.42"}),
    ]
    found = front.row_points(results, Section("A network"))
    assert [p.label for p in found.ours] == ["best", "published", "released"]
    assert [p.label for p in found.dense] == ["baseline"]
    (printed,) = found.papers  # Two rows share it, and the dense one has no weights to draw.
    assert printed.accuracy[:3] == pytest.approx((0.9748, 0.973, 0.977))
    assert printed.remaining.mean == pytest.approx(0.0377)
    assert math.isnan(printed.remaining.low)


def test_several_networks_are_named_and_no_line_joins_them(tmp_path):
    paper = {"accuracy": "97.48", "remaining": "3.77"}
    results = [
        result("net-best", 0.024, 0.982, paper=paper),
        result("wide-best", 0.01, 0.99, paper=paper),
        result("wide-more", 0.03, 0.991),
    ]
    quoted = {"biprop": {"wide": ("98.5", "10"), "other": ("1", "1")}}
    found = front.row_points(results, Section("Networks", paper="Some paper", quoted=quoted))
    assert [p.label for p in found.ours] == ["net-best", "wide-best", "wide-more"]
    papers = [(p.label, p.series) for p in found.papers]
    assert papers == [("net", "Some paper"), ("wide", "Some paper"), ("wide", "biprop")]
    assert found.papers[-1].accuracy.mean == pytest.approx(0.985)
    spec = front_of_rows(found, "Networks")
    kinds = {row["kind"] for row in rows_of(spec)}
    assert kinds == {"runs", "paper"}
    theme.save(spec, tmp_path / "front.svg", width=690)
    shown = texts((tmp_path / "front.svg").read_text())
    assert {"net-best", "wide", "ours", "Some paper", "biprop"} <= shown
    assert "dense" not in shown


def texts(svg):
    return {"".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter()}


def test_the_drawing_shows_every_point_and_never_changes(tmp_path):
    ours = [point("a", 0.02, 0.98, 0.001), point("b", 0.01, 0.97), point("beaten", 0.03, 0.96)]
    papers = [point("paper", 0.0377, 0.975)._replace(series="Some paper")]
    dense = [point("baseline", 1.0, 0.977, 0.001)]
    found = Front([*ours, ours[0]._replace(label="twin")], papers, dense)
    spec = front_of_rows(found, "A network")
    for name in ("one.svg", "two.svg"):
        theme.save(spec, tmp_path / name, width=690)
    one = (tmp_path / "one.svg").read_text()
    assert one == (tmp_path / "two.svg").read_text()
    wanted = {"A network", "a, twin", "b", "beaten", "paper", "baseline, dense: 97.70 %"}
    assert wanted <= texts(one)
    assert "date" not in one
    assert f'fill="{theme.LIGHT["panel"]}"' in one  # Painted: it reads on a dark page.
    joined = [row["label"] for row in rows_of(spec) if row["kind"] == "front"]
    assert joined == ["b", "a", "twin"]


def test_the_command_draws_and_prints(results, tmp_path, capsys):
    for ending in ("svg", "pdf"):
        out = tmp_path / "docs" / f"front.{ending}"
        argv = ["--rows=net-*", f"--results={results}", f"--out={out}"]
        assert cli.main(["front", *argv]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split() == "front 2.40 [2.38, 2.42] 98.20 [98.00, 98.40] 3 best".split()
        assert not lines[2].startswith("front")  # More weights, and less accurate.
    assert {"A network", "Some paper"} <= texts((tmp_path / "docs" / "front.svg").read_text())
    assert out.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--rows=nets"], "unknown row 'nets'"),
        (["--rows=net-never"], "holds no masked row of net-never"),
        (["--rows=net-baseline"], "holds no masked row of net-baseline"),
        (["--rows=net-*", "--out=front.png"], "must end in .svg"),
        ([], "required: --rows"),
    ],
)
def test_bad_input_is_one_line(argv, words, results, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, "front", f"--results={results}", *argv)
    assert not list(tmp_path.glob("*.*"))
