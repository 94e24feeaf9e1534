"""The commands on tickets of a real, tiny run; sets and sizes against what is known of them."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import scipy.stats
from helpers import ROOT, refused, tiny_config
from ticket_helpers import FCN, SMALL, SMALL_CONV, random_ticket

from supermask_jax import cli, experiment, methods, models, tickets
from supermask_jax.commands import restore
from supermask_jax.config.files import identity
from supermask_jax.data import load
from supermask_jax.data.transforms import standardize
from supermask_jax.errors import UserError
from supermask_jax.methods import METHODS
from supermask_jax.tickets.comparison import entropy_bound, sizes
from supermask_jax.tickets.exports import KINDS
from supermask_jax.tickets.file import VALUES, decode_ticket, encode_ticket
from supermask_jax.training.summary import accuracy_on, make_ticket
from supermask_jax.training.trainer import Network
from supermask_jax.training.workdir import Workdir

NORMAL = {"distribution": "normal", "scale": "he", "gain": 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    return path, experiment.run(tiny_config(epochs=1, weight_init=NORMAL), path, quiet=True)


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("ticket") / "ticket.safetensors"
    assert cli.main(["export", f"--workdir={run[0]}", f"--out={path}"]) == 0
    return path


def test_the_ticket_of_a_run_is_the_network_that_was_trained(run, made):
    ticket, summary = tickets.load_ticket(made), run[1]
    assert ticket.density == pytest.approx(summary["remaining_weights"])
    assert ticket.accuracy["value"] == summary["test_accuracy"]
    data = load("digits").test
    assert tickets.accuracy(ticket, data.images, data.labels) == summary["test_accuracy"]
    config = restore.full_config(dict(ticket.config))
    assert identity(config) == ticket.config == identity(tiny_config(epochs=1, weight_init=NORMAL))
    model = models.get(**ticket.model, num_classes=10)
    logits = model.apply(tickets.to_variables(ticket), standardize(data.images[:5]))
    np.testing.assert_allclose(tickets.predict(ticket, data.images[:5]), logits, atol=1e-4)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"signed"}))
def test_every_method_leaves_a_ticket(name):
    kernel = np.random.default_rng(0).normal(size=(64, 10)).astype("f4")
    method = methods.get(name)
    state = method.init(jax.random.key(0), {"dense1": {"kernel": kernel}})
    config = identity(tiny_config()) | {"method": {"name": name}}
    network = Network(method.apply(*state), method.masks(*state), {}, None)
    ticket = make_ticket(config, method, network, {"test_accuracy": 0.5})
    loaded = decode_ticket(encode_ticket(ticket)[0])
    effective = method.apply(*state)["dense1"]["kernel"]
    assert (tickets.to_params(loaded)["dense1"]["kernel"] == effective).all()
    assert loaded.method == name and loaded.image_shape == (8, 8, 1)
    # The accuracy of sampled masks is not that of the ticket.
    assert bool(ticket.accuracy) == (name != "bernoulli")
    if name == "biprop":
        assert len(np.unique(abs(loaded.layers["dense1/kernel"].values))) == 1


def test_verify(made, capsys, tmp_path):
    assert cli.main(["ticket", "verify", str(made), "--data=digits"]) == 0
    said = capsys.readouterr().out
    assert "whole, SHA-256" in said and "accuracy on digits test" in said
    ticket = tickets.load_ticket(made)
    wrong = ticket._replace(accuracy=dict(ticket.accuracy) | {"value": 0.123})
    tickets.save_ticket(tmp_path / "wrong", wrong)
    assert cli.main(["ticket", "verify", str(tmp_path / "wrong")]) == 0
    assert cli.main(["ticket", "verify", str(tmp_path / "wrong"), "--data=digits"]) == 1
    assert "stores an accuracy of 12.3000%, but" in capsys.readouterr().err
    assert cli.main(["ticket", "verify", str(made), "--data=mnist"]) == 1
    assert "that on 'digits'" in capsys.readouterr().err


def test_verify_measures_on_as_many_images_as_the_run_did(made, capsys, tmp_path):
    ticket, data = tickets.load_ticket(made), load("digits").test
    value = tickets.accuracy(ticket, data.images[:7], data.labels[:7])
    assert abs(value - ticket.accuracy["value"]) > 1e-3
    accuracy = accuracy_on({"name": "digits", "subset": 7}, value)
    tickets.save_ticket(tmp_path / "few", ticket._replace(accuracy=accuracy))
    assert cli.main(["ticket", "verify", str(tmp_path / "few"), "--data=digits"]) == 0


def test_the_commands_print(made, capsys):
    for command in (["inspect"], ["ticket", "size"], ["compare", str(made)]):
        assert cli.main([*command, str(made)]) == 0
    said = capsys.readouterr().out
    for text in ("standardize", "dense1/kernel", "entropy bound", "by chance"):
        assert text in said


@pytest.mark.parametrize(
    "argv, said",
    [
        (["verify", "nothing"], "unknown ticket 'nothing'"),
        (["size", "a", "b"], "size takes one ticket"),
        (["burn", "a"], "invalid choice: 'burn'"),
    ],
)
def test_wrong_commands(argv, said, capsys):
    assert said in refused(capsys, "ticket", *argv)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ticket", "verify", "--data=digits"], "accuracy on digits test"),
        (["inspect"], "dense1/kernel"),
        (["compare", "fcn-sparse"], "cannot be compared"),
    ],
)
def test_commands_on_tickets_need_no_jax(made, words, said):
    code = (
        "import sys\nfor name in ('jax', 'jaxlib', 'flax', 'optax'): sys.modules[name] = None\n"
        "from supermask_jax.cli import main\n"
        f"sys.exit(main({[*words, str(made)]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_export_with_values_of_other_kinds(run, tmp_path, capsys):
    sizes = {}
    for values in ("float32", "float16", "seed"):
        out = tmp_path / f"{values}.safetensors"
        argv = [f"--workdir={run[0]}", f"--out={out}", f"--values={values}"]
        assert cli.main(["export", *argv]) == 0
        sizes[values] = out.stat().st_size
        assert cli.main(["ticket", "verify", str(out)]) == 0
    assert sizes["seed"] < sizes["float16"] < sizes["float32"]
    drawn = tickets.load_ticket(tmp_path / "seed.safetensors")
    whole, weights = restore.ticket_of(run[0])
    assert tickets.digest(tickets.fill(drawn, weights)) == tickets.digest(whole)
    # Rounded weights were measured anew.
    half = tickets.load_ticket(tmp_path / "float16.safetensors")
    data = load("digits").test
    assert tickets.accuracy(half, data.images, data.labels) == half.accuracy["value"]
    capsys.readouterr()
    argv = [f"--ticket={tmp_path / 'seed.safetensors'}", f"--stablehlo={tmp_path / 'x'}"]
    assert cli.main(["export", *argv]) == 1
    assert "add them with tickets.fill" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, said",
    [
        ([], "one of the arguments --workdir --ticket is required"),
        (["--workdir=none"], "nothing to write"),
        (["--workdir=none", "--out=x"], "holds no run"),
    ],
)
def test_wrong_exports(argv, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "export", *argv)


def test_all_formats_and_kinds_of_values_can_be_chosen():
    actions = {action.dest: action for action in cli.parser("export").commands["export"]._actions}
    assert set(actions["values"].choices) == {*VALUES, "seed"}
    assert actions.keys() >= set(KINDS)


def test_one_of_a_set_of_seeds(tmp_path, capsys):
    config = tiny_config(epochs=1, num_seeds=2, weight_init=NORMAL)
    summary = experiment.run(config, tmp_path / "run", quiet=True)
    for run in summary["runs"]:
        ticket, _ = restore.ticket_of(tmp_path / "run", run["seed"])
        assert ticket.density == pytest.approx(run["remaining_weights"])
        data = load("digits").test
        found = tickets.accuracy(ticket, data.images, data.labels)
        assert found == pytest.approx(run["test_accuracy"])
        assert ticket.accuracy["value"] == run["test_accuracy"]
    argv = [f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'x'}", "--seed=2"]
    assert cli.main(["export", *argv]) == 1
    assert "holds no run of seed 2" in capsys.readouterr().err
    # As it was before the second seed was trained to its end.
    folder = Workdir(tmp_path / "run")
    folder.summary.unlink()
    (folder.path / "seeds_1-1.json").unlink()
    known, unknown = (restore.ticket_of(folder.path, seed)[0].accuracy for seed in (0, 1))
    assert known["value"] == summary["runs"][0]["test_accuracy"]
    assert unknown == {}


def test_sets():
    a, b = random_ticket(SMALL, 0.3, seed=1), random_ticket(SMALL, 0.5, seed=2)
    name = "dense1/kernel"
    masks = [t.layers[name].mask() for t in (a, b)]
    assert (tickets.union(a, b)[name] == (masks[0] | masks[1])).all()
    assert (tickets.intersection(a, b)[name] == (masks[0] & masks[1])).all()
    found = tickets.compare(a, b)[name]
    assert found.both == (masks[0] & masks[1]).sum()
    assert found.jaccard == found.both / (masks[0] | masks[1]).sum()
    dense = [t.layers[name].dense() for t in (a, b)]
    assert found.same_sign == (dense[0] * dense[1] > 0).sum()
    same = tickets.compare(a, a)[name]
    assert same.jaccard == 1 and same.both == same.same_sign and same.deviations > 10
    with pytest.raises(UserError, match="cannot be compared"):
        tickets.compare(a, random_ticket(SMALL_CONV))


def test_what_chance_gives():
    a, b = np.zeros((2, 6, 10), bool)
    a.reshape(-1)[:25] = True
    b.reshape(-1)[np.random.default_rng(0).permutation(60)[:20]] = True
    layers = [{"w": tickets.make_layer(m * np.float32(1), m)} for m in (a, b)]
    found = tickets.compare(*[random_ticket()._replace(layers=layer) for layer in layers])["w"]
    chance = scipy.stats.hypergeom(60, 25, 20)
    assert found.both == (a & b).sum()
    assert (found.expected, found.std) == pytest.approx((chance.mean(), chance.std()))
    assert found.deviations == pytest.approx((found.both - found.expected) / found.std)


def test_sizes():
    ticket = random_ticket(FCN, 0.035)
    found = sizes(ticket)
    kept = sum(len(layer.positions) for layer in ticket.layers.values())
    assert found["dense float32"] == 4 * 266_200
    assert found["CSR"] == 8 * kept + 4 * (784 + 300 + 100 + 3)
    assert found["2 bits a weight"] == 266_200 // 4 + 12
    assert found["base 3, 5 weights a byte"] == 266_200 // 5 + 12
    assert found["ticket"] == min(found.values())
    entropy = [
        layer.size * scipy.stats.entropy([layer.density, 1 - layer.density], base=2)
        for layer in ticket.layers.values()
    ]
    assert entropy_bound(ticket) == pytest.approx((sum(entropy) + kept) / 8)
    assert list(found)[-1] == "ticket"
    values = sizes(random_ticket(SMALL, 0.3, levels=0))
    assert "bit mask and kept float32" in values and "base 3, 5 weights a byte" not in values


@pytest.mark.parametrize("action", ["verify", "size", "table"])
def test_every_action_answers_in_json(action, tmp_path, capsys):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    made = [random_ticket(seed=seed) for seed in (0, 1)]
    for path, ticket in zip(paths, made, strict=True):
        tickets.save_ticket(path, ticket)
    files = [str(path) for path in paths[: 2 if action == "table" else 1]]
    assert cli.main(["ticket", action, *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    if action == "verify":
        assert found["sha256"] == tickets.digest(made[0]) and found["density"] == made[0].density
        kept = len(made[0].layers["dense1/kernel"].positions)
        assert found["layers"]["dense1/kernel"]["kept"] == kept
    elif action == "size":
        assert found["bytes"]["ticket"] == paths[0].stat().st_size
        assert found["bytes"]["dense float32"] == 4 * 2320 > found["entropy_bound"]
    else:
        assert [found[file]["sha256"] for file in files] == [*map(tickets.digest, made)]


def test_a_ticket_that_ships_is_sized_by_its_name_and_exported_with_json(tmp_path, capsys):
    assert cli.main(["ticket", "size", "fcn-sparse", "--json"]) == 0
    size = json.loads(capsys.readouterr().out)["bytes"]["ticket"]
    assert size == (ROOT / "tickets" / "fcn-sparse.safetensors").stat().st_size
    out = tmp_path / "dense.safetensors"
    assert cli.main(["export", "--ticket=fcn-sparse", f"--safetensors={out}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["safetensors"] == {"file": str(out), "bytes": out.stat().st_size}
    assert found["about"]["sha256"] == tickets.digest(tickets.load_ticket("fcn-sparse"))
