"""evaluate, inspect and compare on a real, tiny run and on tickets; counts against brute force."""

import json

import numpy as np
import pytest
import scipy.stats
from helpers import refused, tiny_config
from ticket_helpers import SMALL, SMALL_CONV, random_ticket

from supermask_jax import cli, experiment, tickets
from supermask_jax.analysis.intervals import share_interval
from supermask_jax.commands import places
from supermask_jax.errors import UserError
from supermask_jax.methods import METHODS
from supermask_jax.tickets.comparison import count_layers, total
from supermask_jax.tickets.drawn import without_values
from supermask_jax.training.arrays import write_arrays


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    return path, experiment.run(tiny_config(epochs=1), path, quiet=True)


def asked(capsys, *argv):
    """The JSON that a command prints."""
    capsys.readouterr()
    assert cli.main([*map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_evaluate_finds_what_the_run_measured(run, capsys):
    path, summary = run
    for place in (path, path / "ticket.safetensors"):
        found = asked(capsys, "evaluate", place)
        assert found["accuracy"] == found["stored"] == summary["test_accuracy"]
        assert found["remaining"] == pytest.approx(summary["remaining_weights"])
        assert found["low"] < found["accuracy"] < found["high"]
        assert found["images"] == 360
    assert cli.main(["evaluate", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"{100 * summary['test_accuracy']:.2f} [" in said and "they agree" in said


def test_evaluate_on_the_other_splits(run, capsys):
    path, summary = run
    for place in (path, path / "ticket.safetensors"):
        found = asked(capsys, "evaluate", place, "--split=val")
        assert found["accuracy"] == pytest.approx(summary["val_accuracy"])
        assert (found["images"], found["stored"]) == (143, None)
    assert asked(capsys, "evaluate", path, "--split=train")["images"] == 1437 - 143


def test_evaluate_of_one_of_a_set_of_seeds_whose_masks_are_sampled(capsys, tmp_path):
    config, path = tiny_config(epochs=1, num_seeds=2, seeds_per_program=2), tmp_path / "set"
    config.method = {"name": "bernoulli", "evaluation": "sampled", "eval_samples": 10}
    runs = experiment.run(config, path, quiet=True)["runs"]
    assert runs[0]["test_accuracy"] != runs[1]["test_accuracy"]
    for run in runs:
        found = asked(capsys, "evaluate", path, f"--seed={run['seed']}")
        assert found["accuracy"] == found["stored"] == run["test_accuracy"]
        assert found["sampled"] == METHODS["bernoulli"]().eval_samples > 0
    assert cli.main(["compare", str(path), str(path)]) == 0
    assert "mean of 2 seeds" in capsys.readouterr().out
    capsys.readouterr()
    assert cli.main(["inspect", str(path), f"--seed={run['seed']}"]) == 0
    said = capsys.readouterr().out
    assert "not measured for the most probable masks" in said
    assert f"stored     {100 * run['test_accuracy']:.2f} % on the test images" in said
    assert f"mean of {found['sampled']} sampled masks" in said
    # As if it was not finished.
    for file in ("summary.json", "seeds_0-1.json"):
        (path / file).unlink()
    assert cli.main(["evaluate", str(path)]) == 0
    said = capsys.readouterr()
    assert f"means over {found['sampled']} sampled masks" in said.out
    assert "stored" not in said.out and "the run is not finished" in said.err
    assert cli.main(["inspect", str(path)]) == 0
    assert "stored" not in capsys.readouterr().out


def test_evaluate_of_a_model_that_numpy_does_not_run(run, capsys, monkeypatch):
    path, summary = run
    monkeypatch.setattr("supermask_jax.tickets.chain.CHAINS", ())
    # 360 images: the last batch is not full.
    monkeypatch.setattr("supermask_jax.tickets.exports._BATCH", 100)
    monkeypatch.setattr(tickets, "accuracy", lambda *unused: pytest.fail("ran in NumPy"))
    found = asked(capsys, "evaluate", path / "ticket.safetensors")
    assert found["accuracy"] == pytest.approx(summary["test_accuracy"])


def test_evaluate_refuses_a_place_that_claims_more_than_it_has(run, capsys, tmp_path):
    ticket = tickets.load_ticket(run[0] / "ticket.safetensors")
    wrong = ticket._replace(accuracy=dict(ticket.accuracy) | {"value": 0.9999})
    tickets.save_ticket(tmp_path / "wrong", wrong)
    assert cli.main(["evaluate", str(tmp_path / "wrong")]) == 1
    assert "stores an accuracy of 99.9900%, but" in capsys.readouterr().err
    # Of other images nothing is claimed.
    assert cli.main(["evaluate", str(tmp_path / "wrong"), "--split=val"]) == 0


def test_evaluate_of_a_ticket_that_says_nothing_of_its_run(capsys, tmp_path):
    tickets.save_ticket(tmp_path / "x", random_ticket(config={}, accuracy=None))
    assert cli.main(["evaluate", str(tmp_path / "x")]) == 1
    assert "give --data" in capsys.readouterr().err
    found = asked(capsys, "evaluate", tmp_path / "x", "--data=digits")
    assert (found["images"], found["stored"]) == (360, None)
    assert cli.main(["evaluate", str(tmp_path / "x"), "--data=digits", "--split=val"]) == 1
    assert "there is no split 'val'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["evaluate", "{run}", "--data=mnist"],
            "mnist does not fit: the network takes images of 8",
        ),
        (["evaluate", "{run}", "--data=mnits"], "did you mean 'mnist'"),
        (["evaluate", "{run}", "--seed=5"], "holds no run of seed 5"),
        (["inspect", "{run}/nothing"], "nothing, and there is no file"),
        (["inspect", "{run}/.."], "is not the work folder of a run, but there are some in it"),
        (["inspect", "{run}/checkpoints"], "holds no run"),
        (["inspect", "{run}/summary.json"], "cannot use ticket"),
        (["compare", "{run}"], "the following arguments are required"),
    ],
)
def test_bad_places_are_one_line(argv, words, run, capsys):
    assert cli.main([word.replace("{run}", str(run[0])) for word in argv]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("data set")]
    assert line.startswith("error: ") and words in line


def test_inspect_agrees_with_the_summary(run, capsys):
    path, summary = run
    found = asked(capsys, "inspect", path)
    assert found["accuracy"]["value"] == summary["test_accuracy"]
    assert found["density"] == pytest.approx(summary["remaining_weights"])
    for name, layer in summary["layers"].items():
        of = found["layers"][name]
        # The signed method inverts a weight by inverting its sign.
        assert (of["flipped"], of["hidden"]) == (layer["inverted"], layer["hidden"])
        assert of["positive"] + of["negative"] == of["kept"] == layer["kept"] + layer["inverted"]


def test_inspect_of_a_ticket_alone_does_not_know_the_start(run, capsys):
    place = run[0] / "ticket.safetensors"
    assert {layer["flipped"] for layer in asked(capsys, "inspect", place)["layers"].values()} == {
        None
    }
    assert cli.main(["inspect", str(place)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (digest,) = [line.split()[1] for line in lines if line.startswith("SHA-256")]
    assert digest == tickets.digest(tickets.load_ticket(place))
    assert lines[-5].split()[0] == "layer" and lines[-1].split()[0] == "total"
    assert lines[-1].split()[6] == "-"  # flipped


def test_tickets_that_ship_are_places(capsys):
    found = asked(capsys, "inspect", "fcn-sparse")
    assert found["sha256"] == tickets.digest(tickets.load_ticket("fcn-sparse"))
    assert found["versions"] and found["config"]["model"]["name"] == "fcn"
    assert "did you mean 'fcn-sparse'" in refused(capsys, "inspect", "fcn-spars")
    assert len(asked(capsys, "compare", "fcn-sparse", "fcn-best")["layers"]) == 3


def test_a_level_of_pruning_descends_from_level_0(tmp_path):
    write = {"params/dense1/kernel": np.ones((2, 3), np.float32)}
    (tmp_path / "level_00").mkdir()
    write_arrays(tmp_path / "level_00" / "weights_at_0.npz", write)
    (start,) = places._level_start(tmp_path / "cell" / "level_02").items()
    assert start[0] == "dense1/kernel" and start[1].shape == (2, 3)
    assert places._level_start(tmp_path) == {}


def test_compare_a_run_with_its_ticket(run, capsys):
    path = run[0]
    found = asked(capsys, "compare", path, path / "ticket.safetensors")
    assert found["places"][0] == found["places"][1]
    low, high = found["places"][0]["accuracy_interval"]
    assert low < run[1]["test_accuracy"] < high
    assert all(layer["jaccard"] == 1 for layer in found["layers"].values())
    assert cli.main(["compare", str(path), str(path / "ticket.safetensors")]) == 0
    assert "config: no differences" in capsys.readouterr().out


def test_compare_says_what_differs(run, capsys, tmp_path):
    ticket = tickets.load_ticket(run[0] / "ticket.safetensors")
    older = {k: v for k, v in ticket.config.items() if k != "compute_dtype"} | {"epochs": 7}
    tickets.save_ticket(tmp_path / "other", ticket._replace(config=older))
    dense = ticket._replace(layers={}, params={"dense1/kernel": np.ones((64, 10), np.float32)})
    tickets.save_ticket(tmp_path / "dense", dense)
    tickets.save_ticket(tmp_path / "conv", random_ticket(SMALL_CONV, image_shape=(8, 8, 1)))

    def said(*argv):
        assert cli.main(["compare", *map(str, argv)]) == 0
        return capsys.readouterr().out

    # An entry that an older version did not have is at its default.
    assert "config: 1 difference\n  epochs: 1 -> 7\n" in said(run[0], tmp_path / "other")
    assert "dense: no weight is masked" in said(run[0], tmp_path / "dense")
    assert "there are no masks to compare" in said(run[0], tmp_path / "dense")
    assert "cannot be compared" in said(run[0], tmp_path / "conv")


@pytest.mark.parametrize("shapes", [SMALL, SMALL_CONV])
def test_counts_are_those_of_the_dense_arrays(shapes):
    ticket = random_ticket(shapes, 0.02, levels=0)
    rng = np.random.default_rng(5)
    start = {name: rng.normal(size=layer.shape) for name, layer in ticket.layers.items()}
    found = count_layers(ticket, start)
    names = list(ticket.layers)
    for name, reader in zip(names, [*names[1:], None], strict=True):
        dense, c = ticket.layers[name].dense(), found[name]
        assert c.kept == np.count_nonzero(dense) and c.hidden == np.sum(dense == 0)
        assert (c.positive, c.negative) == (np.sum(dense > 0), np.sum(dense < 0))
        assert c.flipped == np.sum(dense * start[name] < 0)
        columns = dense.reshape(-1, dense.shape[-1])
        assert c.dead == sum(not column.any() for column in columns.T)
        assert c.units == dense.shape[-1]
        if reader is None:
            assert c.unread is None
            continue
        after = ticket.layers[reader].dense()
        rows = after.reshape(-1, c.units, after.shape[-1]) if after.ndim == 2 else after
        assert c.unread == sum(not rows[..., i, :].any() for i in range(c.units))
    assert any(c.dead for c in found.values()) and any(c.unread for c in found.values())
    whole = total(found)
    assert whole.kept == sum(c.kept for c in found.values()) and whole.unread is None
    assert whole.density == pytest.approx(ticket.density)


def test_counts_of_signs_of_drawn_weights():
    ticket = random_ticket(SMALL, 0.3, levels=0)
    rng = np.random.default_rng(1)
    signs = {name: rng.choice([-1, 1], layer.shape) for name, layer in ticket.layers.items()}
    start = {name: signs[name] * layer.dense() for name, layer in ticket.layers.items()}
    known = count_layers(ticket, start)
    for name, c in count_layers(without_values(ticket, start)).items():
        assert c.flipped == known[name].flipped > 0
        assert c.positive is None and c.negative is None
    with pytest.raises(UserError, match="have shape"):
        count_layers(ticket, {"dense1/kernel": np.ones((2, 2))})


def test_counts_of_layers_that_are_no_chain():
    found = count_layers(random_ticket(SMALL, model={"name": "resnet20"}))
    assert {c.unread for c in found.values()} == {None}


@pytest.mark.parametrize(("right", "n"), [(0, 10), (350, 360), (9803, 10_000), (10, 10)])
def test_the_interval_of_a_share_is_wilsons(right, n):
    low, high = scipy.stats.binomtest(right, n).proportion_ci(0.95, "wilson")
    found = share_interval(right / n, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert (found.mean, found.n) == (right / n, n)


@pytest.mark.parametrize(("share", "n"), [(0.5, 0), (1.1, 10), (-0.1, 10)])
def test_an_interval_of_no_share(share, n):
    with pytest.raises(ValueError, match="a share in"):
        share_interval(share, n)
