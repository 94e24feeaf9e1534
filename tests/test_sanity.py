"""What chance leaves of a ticket: the checks as functions, and the command on tiny runs."""

import json
import shutil

import jax
import numpy as np
import pytest
from helpers import refused, tiny_config

from supermask_jax import cli, experiment, methods, tickets
from supermask_jax.analysis.intervals import Interval, percent
from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError
from supermask_jax.tickets import sanity

RNG = np.random.default_rng(0)
MASK = RNG.choice([-1.0, 0.0, 0.0, 0.0, 1.0], (40, 30)).astype("f4")
NAMES = sorted(methods.METHODS.keys() - {"dense"})


def seeded(name, seed=1):
    return sanity.CHECKS[name](MASK, np.random.default_rng(seed))


def counts(mask):
    return [int((mask == value).sum()) for value in (-1, 0, 1)]


def test_shuffled_masks_keep_the_counts_of_their_layer():
    for name in ("shuffled", "signs shuffled"):
        found = seeded(name)
        assert found.shape == MASK.shape and counts(found) == counts(MASK)
        assert (found != MASK).any() and (seeded(name, 2) != found).any()
    assert ((seeded("signs shuffled") != 0) == (MASK != 0)).all()
    assert ((seeded("shuffled") != 0) != (MASK != 0)).any()


def test_inverted_masks_keep_exactly_what_was_hidden():
    np.testing.assert_array_equal(seeded("inverted") + np.abs(MASK), 1)
    np.testing.assert_array_equal(sanity.inverted(2 * MASK) + np.abs(2 * MASK), 2)
    np.testing.assert_array_equal(sanity.inverted(np.zeros((2, 2), "f4")), 1)


def test_random_masks_have_the_density_and_the_signs_of_their_layer():
    mask = np.zeros(100_000, "f4")
    mask[:3000], mask[3000:4000] = 1, -1
    found = sanity.random_mask(mask, np.random.default_rng(0))
    assert counts(found) == pytest.approx([1000, 96_000, 3000], rel=0.1)
    assert counts(found) != [1000, 96_000, 3000]  # Each weight is drawn by itself.
    assert not sanity.random_mask(np.zeros(9), np.random.default_rng(0)).any()


def ticket_of(method, weights):
    """A ticket of one layer, and what it masks."""
    state = method.init(jax.random.key(0), {"dense1": {"kernel": weights}})
    # Scores of a training that has moved them.
    scores = jax.tree.map(
        lambda s: jax.random.normal(jax.random.key(1), s.shape), state[0]["scores"]
    )
    trainable = state[0] | {"scores": scores}
    about = {"model": {"name": "fcn", "features": ()}, "num_classes": 10, "image_shape": (8, 8, 1)}
    effective, masks = method.apply(trainable, state[1]), method.masks(trainable, state[1])
    return tickets.from_run(effective, masks, **about), {"dense1/kernel": np.asarray(weights)}


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_factors_and_weights_give_the_ticket_of_every_method_back(name, constant):
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype("f4")
    if constant:
        weights = np.float32(0.3) * np.sign(weights)
    ticket, drawn = ticket_of(methods.get(name), weights)
    masks = sanity.factors(ticket, drawn)
    again = sanity.combined(ticket, drawn, masks)
    assert again.density == ticket.density > 0
    kernel = again.layers["dense1/kernel"].dense()
    np.testing.assert_allclose(kernel, ticket.layers["dense1/kernel"].dense(), rtol=1e-5)
    for check in sanity.CHECKS:
        other = sanity.checked(check, ticket, drawn, masks, seed=3)
        assert tickets.digest(other) != tickets.digest(again) or name not in (
            "signed",
            "signed_topk",
        )
        values = np.abs(other.layers["dense1/kernel"].values)
        if constant:  # Signed constants stay such.
            assert len(np.unique(np.round(values, 4))) <= (3 if name == "multicoat" else 1)


def test_a_ticket_of_signs_and_a_seed_is_filled():
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype("f4")
    ticket, drawn = ticket_of(methods.signed(), weights)
    from supermask_jax.tickets.ticket import without_values

    signs = without_values(ticket, drawn)
    assert signs.layers["dense1/kernel"].drawn
    masks = sanity.factors(signs, drawn)
    np.testing.assert_array_equal(
        masks["dense1/kernel"], sanity.factors(ticket, drawn)["dense1/kernel"]
    )
    shuffled = sanity.checked("shuffled", signs, drawn, masks, seed=0)
    assert shuffled.density == ticket.density and tickets.to_params(shuffled)


def test_weights_that_are_not_those_masked_are_refused():
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype("f4")
    ticket, drawn = ticket_of(methods.signed(), weights)
    with pytest.raises(UserError, match="were trained, or this version of JAX draws others"):
        sanity.factors(ticket, {"dense1/kernel": weights[::-1]})
    with pytest.raises(UserError, match=r"no weights of shape \(64, 10\)"):
        sanity.factors(ticket, {"dense1/kernel": weights[:3]})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("sanity") / "run"
    config = tiny_config(epochs=20, batch_size=32, **{"optimizer.weight_decay": 2e-3})
    return path, experiment.run(config, path, quiet=True)


def asked(capsys, place, *flags):
    assert cli.main(["sanity", str(place), "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_mask_of_a_run_means_something_and_chance_does_not(run, capsys):
    path, summary = run
    found = asked(capsys, path, "--draws=3")
    checks = found["checks"]
    assert found["images"] == 360
    assert checks["ticket"]["mean"] == pytest.approx(summary["test_accuracy"], abs=1e-6)
    assert list(checks) == ["ticket", *sanity.CHECKS, "redrawn"]
    for name, check in checks.items():
        assert len(check["accuracies"]) == (1 if name in ("ticket", "inverted") else 3)
        assert check["low"] < check["mean"] < check["high"] or len(set(check["accuracies"])) == 1
        if name != "ticket":
            assert check["mean"] < checks["ticket"]["mean"] - 0.2, name
    # The file of the ticket holds no frozen weights: they are drawn from its seed.
    again = asked(capsys, path / "ticket.safetensors", "--draws=3")
    assert again["checks"] == checks


def test_the_report_of_the_run_shows_what_was_measured(run, tmp_path, capsys):
    path, _ = run
    checks = asked(capsys, path, "--draws=2")["checks"]
    assert cli.main(["report", str(path), "--quick", f"--out={tmp_path / 'a.html'}"]) == 0
    text = (tmp_path / "a.html").read_text()
    assert "What chance leaves of the ticket of seed 0" in text
    words = percent(Interval(**{k: checks["redrawn"][k] for k in ("mean", "low", "high")}, n=2))
    mean, _, interval = words.partition(" ")
    row = f'<th scope="row">redrawn</th><td>{mean}<small>{interval}</small></td><td>2</td>'
    assert row in text
    capsys.readouterr()
    kept = path / "sanity.json"
    kept.write_text(kept.read_text().replace("redrawn", "drawn"))
    assert "sanity.json is damaged" in refused(capsys, "report", str(path), "--quick")
    kept.unlink()


def test_each_seed_of_a_set_keeps_its_own_and_a_file_writes_nothing(run, tmp_path, capsys):
    entries = {"num_seeds": 2, "seeds_per_program": 1}
    experiment.run(tiny_config(**entries), tmp_path / "set", quiet=True)
    asked(capsys, tmp_path / "set", "--draws=1", "--seed=1")
    assert [p.name for p in (tmp_path / "set").glob("sanity*")] == ["sanity-s1.json"]
    shutil.copy(run[0] / "ticket.safetensors", tmp_path)
    before = sorted(tmp_path.iterdir())
    asked(capsys, tmp_path / "ticket.safetensors", "--draws=1")
    assert sorted(tmp_path.iterdir()) == before


def test_the_table_is_printed(run, capsys):
    assert cli.main(["sanity", str(run[0]), "--draws=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "360 test images" in lines[0] and "draws" in lines[0]
    assert sum("redrawn" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("flags", "change", "said"),
    [
        (["--draws=0"], {}, "a whole number, at least 1, got '0'"),
        ([], {"config": {}}, "does not hold the settings of its run"),
        ([], {"layers": {}}, "it has no mask to check"),
    ],
)
def test_what_cannot_be_checked_is_one_line(run, tmp_path, capsys, flags, change, said):
    ticket = tickets.load_ticket(run[0] / "ticket.safetensors")._replace(**change)
    tickets.save_ticket(tmp_path / "ticket", ticket)
    assert cli.main(["sanity", str(tmp_path / "ticket"), *flags]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_level_of_pruning_is_refused(run, tmp_path, capsys):
    ticket = tickets.load_ticket(run[0] / "ticket.safetensors")
    config = dict(ticket.config) | {"recipe": {"criterion": "large_final"}}
    tickets.save_ticket(tmp_path / "ticket", ticket._replace(config=config))
    assert cli.main(["sanity", str(tmp_path / "ticket")]) == 1
    assert "supermask lottery" in capsys.readouterr().err


def test_redrawn_weights_are_those_of_other_seeds(run):
    config = tiny_config()
    first, second = (experiment.drawn_weights(tiny_config(seed=seed)) for seed in (0, 1))
    job = experiment.build(config)
    own = named_leaves(job.layout.seeds_of(job.start()[1])[0]["weights"])
    for name, weights in own.items():
        np.testing.assert_array_equal(first[name], weights)
        assert (first[name] != second[name]).any()
