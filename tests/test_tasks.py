"""Several tasks over one frozen network: names, tickets in one file, and the command."""

import json

import jax
import numpy as np
import pytest
from helpers import ROOT, assert_refused, assert_trees_equal, refused, tiny_config
from test_ticket_format import set_of_two

from supermask_jax import cli, experiment, models, tickets
from supermask_jax.errors import UserError
from supermask_jax.studies import tasks

CONFIG = f"--config={ROOT / 'configs' / 'piggyback.py'}:fcn"
TINY = (
    CONFIG,
    "--config.model.width=0.2",
    "--config.model.outputs=40",
    "--epochs=8",
    "--lr=0.003",
    "--config.batch_size=32",
)


def test_names_of_tasks():
    names = ["permuted:mnist:0", "permuted:mnist:1", "split:mnist:0-4"]
    assert tasks.task_names(["permuted:mnist:0-1", "split:mnist:0-4"]) == names
    assert tasks.task_names(["permuted:npz:a:b.npz:3,5"])[1] == "permuted:npz:a:b.npz:5"
    assert_refused(
        [
            ("given twice", lambda: tasks.task_names(["permuted:mnist:0-2", "permuted:mnist:1"])),
            ("at least two tasks", lambda: tasks.task_names(["mnist"])),
            ("whole numbers", lambda: tasks.task_names(["permuted:mnist:x"])),
        ]
    )


def test_tasks_of_one_network_alone():
    config = tiny_config(**{"method.name": "signed"})
    many = ["split:digits:0-4", "split:digits:5-9", "split:digits:0-2"]
    assert len(tasks.task_configs(config, many[:2])) == 2
    dense = tiny_config()
    dense.method = {"name": "dense"}
    assert_refused(
        [
            (r"split:digits:0-4: 8 x 8 x 1, 5 classes", lambda: tasks.task_configs(config, many)),
            ("method dense trains them", lambda: tasks.task_configs(dense, many[:2])),
            ("one seed", lambda: tasks.task_configs(tiny_config(num_seeds=2), many[:2])),
        ]
    )


def test_more_outputs_than_classes():
    params = models.get("fcn", num_classes=10, outputs=25).init(
        jax.random.key(0), np.zeros((1, 8, 8, 1), "f4")
    )["params"]
    assert params["dense3"]["kernel"].shape == (100, 25)
    assert_refused([("9 are too few", lambda: models.get("fcn", num_classes=10, outputs=9))])


def test_a_set_of_tickets_comes_back(tmp_path):
    saved, drawn = set_of_two()
    tickets.save_tickets(tmp_path / "set", saved)
    loaded = tickets.load_tickets(tmp_path / "set")
    assert list(loaded) == list(saved)
    for name, ticket in saved.items():
        assert tickets.digest(loaded[name]) == tickets.digest(ticket)
        assert loaded[name]._replace(layers={}, params={}) == ticket._replace(layers={}, params={})
    filled = tickets.to_params(tickets.fill(loaded["masks"], drawn))
    kernel = filled["dense1"]["kernel"]
    np.testing.assert_array_equal(kernel, np.where(kernel == 0, 0, drawn["dense1/kernel"]))
    # A mask alone needs a bit of each weight, and a second ticket repeats no description.
    one, two = ({str(i): saved["masks"] for i in range(n)} for n in (1, 2))
    size = [len(tickets.ticket_set.encode_tickets(some)) for some in (one, two)]
    weights = sum(layer.size for layer in saved["masks"].layers.values())
    assert size[1] - size[0] < weights / 8 + 100 < size[0]


def test_what_is_no_set_of_tickets(tmp_path):
    saved, _ = set_of_two()
    tickets.save_tickets(tmp_path / "set", saved)
    tickets.save_ticket(tmp_path / "one", saved["all"])
    content = (tmp_path / "set").read_bytes()
    assert_refused(
        [
            ("tickets.load_tickets reads it", lambda: tickets.load_ticket(tmp_path / "set")),
            ("tickets.load_ticket reads it", lambda: tickets.load_tickets(tmp_path / "one")),
            ("no ticket to save", lambda: tickets.save_tickets(tmp_path / "x", {})),
            ("cannot read", lambda: tickets.load_tickets(tmp_path / "none")),
        ]
    )
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(content)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (tmp_path / "bad").write_bytes(data)
        try:
            loaded = tickets.load_tickets(tmp_path / "bad")
        except UserError as error:
            assert "\n" not in str(error)
        else:  # A bit that nothing hangs on, such as a letter of a name.
            assert [*map(tickets.digest, loaded.values())] == [*map(tickets.digest, saved.values())]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    argv = ["tasks", *TINY, "--task=permuted:digits:0-1", f"--workdir={folder / 'run'}"]
    argv += [f"--{name}={folder / name}.{end}" for name, end in ENDS.items()]
    assert cli.main([*argv, "--quiet", "--infer=50"]) == 0
    return folder, json.loads((folder / "out.json").read_text())


ENDS = {"out": "json", "tickets": "safetensors", "figure": "svg"}


def test_the_command_trains_a_mask_for_each_task(result):
    folder, found = result
    matrix = np.array(found["matrix"])
    assert matrix.shape == (2, 2)
    assert [row["task"] for row in found["tasks"]] == [f"permuted:digits:{i}" for i in range(2)]
    for index, row in enumerate(found["tasks"]):
        assert row["accuracy"] == pytest.approx(matrix[index, index], abs=1e-6)
        assert matrix[index, index] > 0.7 and max(np.delete(matrix[index], index)) < 0.4
        assert row["task_asked"] == 50 and row["task_found"] >= 45
        summary = json.loads((folder / "run" / f"task_0{index}" / "summary.json").read_text())
        assert row["accuracy"] == pytest.approx(summary["test_accuracy"], abs=1e-6)
    assert found["command"].startswith("supermask tasks --config=")
    assert "permuted:digits:1" in (folder / "figure.svg").read_text()


def test_the_tickets_of_the_command_hold_masks_over_one_network(result):
    folder, found = result
    loaded = tickets.load_tickets(folder / "tickets.safetensors")
    assert (folder / "tickets.safetensors").stat().st_size == found["bytes"]
    assert found["bytes"] < 2 * (found["weights"] / 8 + 800)
    config = tiny_config(**{"method.name": "signed"})
    config.update(
        {"model": {**config.model, "width": 0.2, "outputs": 40}, "weight_init": _weights()}
    )
    drawn = experiment.drawn_weights(config)
    for index, ticket in enumerate(loaded.values()):
        run = tickets.load_ticket(folder / "run" / f"task_0{index}" / "ticket.safetensors")
        assert_trees_equal(tickets.to_params(tickets.fill(ticket, drawn)), tickets.to_params(run))


def _weights():
    from supermask_jax.config.files import load_config

    return load_config(CONFIG.removeprefix("--config=")).weight_init


def test_a_finished_sequence_is_measured_and_not_trained_again(result, capsys):
    folder, found = result
    before = [(folder / "run" / f"task_0{i}" / "summary.json").stat().st_mtime_ns for i in range(2)]
    argv = ["tasks", *TINY, "--task=permuted:digits:0-1", f"--workdir={folder / 'run'}"]
    assert cli.main([*argv, "--json", "--infer=50", "--rule=binary"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["matrix"] == found["matrix"] and again["bytes"] == found["bytes"]
    after = [(folder / "run" / f"task_0{i}" / "summary.json").stat().st_mtime_ns for i in range(2)]
    assert after == before


def test_masks_that_scale_and_networks_with_statistics(tmp_path, capsys):
    flags = ["--config.epochs=1", "--config.model.norm=all", "--config.model.width=0.1"]
    two = ["--task=split:digits:0-4", "--task=split:digits:5-9", f"--workdir={tmp_path / 'r'}"]
    argv = ["tasks", f"--config={ROOT / 'configs' / 'biprop.py'}:fcn", *flags, *two]
    assert cli.main([*argv, "--quiet", "--infer=5"]) == 1
    said = "nothing but masks differs between tasks"
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert cli.main([*argv, "--json"]) == 0  # Not asked to infer, it goes without.
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert said in err
    assert "task_found" not in found["tasks"][0] and found["bytes"] > 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task=permuted:digits:0"], "at least two tasks"),
        (["--task=permuted:digits:0-1", "--infer=x"], "a whole number, at least 0"),
        (["--task=permuted:digits:0-1", "--figure=a.png"], "must end in .svg or .pdf"),
        (["--task=permuted:nothing:0-1"], "nothing"),
    ],
)
def test_bad_input_is_one_line(capsys, flags, said):
    assert said in refused(capsys, "tasks", *TINY, *flags)


def test_a_dry_run_names_the_tasks(capsys):
    assert cli.main(["tasks", *TINY, "--task=permuted:digits:0-1", "--dry_run"]) == 0
    _, *names = capsys.readouterr().out.split("\n  ")
    assert names == ["permuted:digits:0", "permuted:digits:1\n"]


def test_fewer_outputs_than_classes():
    assert_refused([("9 are too few", lambda: models.get("fcn", num_classes=10, outputs=9))])
