"""Overrides on the command line: blocks switched by name, short forms, errors."""

import json

import jax
import pytest
from helpers import assert_trees_equal, tiny_argv

from supermask_jax import cli, experiment, methods
from supermask_jax.commands.common import spelled_out
from supermask_jax.config.files import load_with_overrides
from supermask_jax.config.overrides import BLOCKS, _options
from supermask_jax.errors import UserError

MOMENTS = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
ADAMW = {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-4, **MOMENTS}


def block(section, *flags, spec="fcn"):
    config = load_with_overrides(spec, [f"--config.{flag}" for flag in flags])
    experiment.build(config)
    return config[section].to_dict()


@pytest.mark.parametrize("form", ["=adamw", ".name=adamw", "={'name': 'adamw'}"])
def test_three_forms_load_the_blocks_own_defaults(form):
    assert block("optimizer", f"optimizer{form}") == ADAMW


@pytest.mark.parametrize("first", [True, False])
def test_other_overrides_apply_on_top_wherever_they_stand(first):
    flags = ["optimizer.b1=0.5", "optimizer=adamw"]
    assert block("optimizer", *(flags if first else flags[::-1])) == ADAMW | {"b1": 0.5}


@pytest.mark.parametrize("section", [b for b in BLOCKS if "." not in b])
def test_every_name_of_every_block_can_be_switched_to(section):
    from supermask_jax.core.initializers import INITIALIZERS
    from supermask_jax.models import MODELS
    from supermask_jax.training.optimizers import OPTIMIZERS
    from supermask_jax.training.schedules import CONTROLLERS, SCHEDULES

    names = {
        "model": MODELS,
        "weight_init": INITIALIZERS,
        "method": methods.METHODS,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES | CONTROLLERS,
    }
    for name in names[section]:
        config = load_with_overrides("conv2", [f"--config.{section}={name}"])
        key = "distribution" if section == "weight_init" else "name"
        assert config[section][key] == name
        if section != "model":  # Tracing all of them takes a minute.
            experiment.build(config)


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_a_methods_block_is_its_factory_as_it_comes(name):
    entries = block("method", f"method={name}", spec="edge_popup")
    assert entries.keys() >= _options("method", name).keys() - {"score_init", "threshold"}
    params = {"dense1": {"kernel": jax.random.normal(jax.random.key(3), (8, 5))}}
    ours, plain = methods.get(**entries), methods.METHODS[name]()
    assert_trees_equal(*(m.init(jax.random.key(0), params) for m in (ours, plain)))


def test_the_same_name_changes_nothing_and_inner_blocks_switch_too():
    assert block("optimizer", "optimizer=sgdw")["weight_decay"] == 5e-4
    found = block("method", "method.threshold.fraction=0.3", "method.threshold=fraction_of_max")
    assert found["threshold"] == {"rule": "fraction_of_max", "fraction": 0.3}
    found = block("method", "method=bernoulli", "method.score_init=normal")
    assert found["score_init"] == {"distribution": "normal"}


def test_a_model_keeps_the_entries_that_there_are():
    found = block("model", "model=resnet20", "model.norm=all", spec="edge_popup:conv2")
    assert (found["activation"], found["norm"], found["name"]) == ("relu", "all", "resnet20")
    assert block("model", "model.features=(20,10)")["features"] == (20, 10)


def test_values_take_the_type_of_their_entry():
    flags = "method=multicoat method.densities=0.5,0.1 epochs=2 data.shuffle=No model.width=1"
    flags = [f"--config.{flag}" for flag in (*flags.split(), "data=digits", "mesh={'data': 1}")]
    config = load_with_overrides("fcn", flags)
    assert config.method.densities == (0.5, 0.1)
    assert (config.epochs, config.data.shuffle, config.model.width) == (2, False, 1.0)
    assert (config.data.name, config.mesh.data, config.mesh.seed) == ("digits", 1, 0)


def test_short_forms_and_values_of_their_own():
    words = ["conv8", "--lr", "0.1", "--seed=3", "--config.epochs", "3", "--workdir", "runs/x"]
    expected = ["conv8", "--config.optimizer.learning_rate=0.1", "--config.seed=3"]
    assert spelled_out(words) == [*expected, "--config.epochs=3", "--workdir", "runs/x"]


def test_a_bare_word_is_the_config(capsys):
    def printed(*argv):
        assert cli.main(["train", *argv, "--print_config"]) == 0
        return capsys.readouterr().out

    assert printed("--epochs", "3", "conv8:best") == printed("--config=conv8:best", "--epochs=3")
    assert cli.main(["train", "conv8", "--config=fcn"]) == 1
    assert "unexpected argument 'conv8'" in capsys.readouterr().err


def test_options_of_an_error_are_those_that_can_be_given():
    with pytest.raises(UserError) as caught:
        methods.get("edge_popup", densty=0.1)
    assert "label_fn" not in str(caught.value)
    assert _options("schedule", "plateau")["factor"] == 0.2
    assert not {"factor"} & _options("optimizer", "sgd").keys()
    assert _options("schedule", "cosine").keys() == {"per_epoch", "warmup"}


def test_a_batch_larger_than_the_data_is_questioned(tmp_path, caplog):
    argv = tiny_argv("--epochs=1", "--batch_size=100000", f"--workdir={tmp_path}", "--quiet")
    assert cli.main(["train", *argv]) == 0
    (said,) = json.loads((tmp_path / "summary.json").read_text())["warnings"]
    assert said.startswith("config.batch_size is 100,000, and there are 1,294 images to train on")


@pytest.mark.parametrize(
    ("flags", "end"),
    [
        (["learning_rate=0.1"], "did you mean --config.optimizer.learning_rate?"),
        (["optimizer=adamw", "optimizer.momentum=1"], " config.optimizer.momentum: config.opt"),
    ],
)
def test_an_unknown_entry_is_answered_with_one_that_is_meant_or_none(flags, end):
    with pytest.raises(UserError) as error:
        block("optimizer", *flags)
    said = str(error.value)
    assert end in said and said == said.strip() and "norm_momentum" not in said
