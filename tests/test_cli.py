"""The command line: bad input is one clear line, a non-zero exit, and nothing written."""

import json
import os

import pytest
from helpers import ROOT, run_main, said_lines, tiny_argv

from supermask_jax import cli
from supermask_jax.commands import common
from supermask_jax.config.files import load_config
from supermask_jax.core.trees import num_params
from supermask_jax.training.memory import StepPlan


def main(argv):
    return cli.main(["train", *argv])


FCN = f"--config={ROOT / 'configs' / 'fcn.py'}"
QUICK = f"--config={ROOT / 'configs' / 'quickstart.py'}"


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch, tmp_path):
    """Runs in an empty folder with no data but the embedded set."""
    monkeypatch.chdir(tmp_path)
    for name in ("SUPERMASK_CACHE", "TFDS_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setattr("shutil.which", lambda name: None)  # No npm: no network.


BAD_INPUT = [
    ([], "which config? give e.g. supermask train conv8"),
    (["--config=configs/nothing.py"], "there is no config file configs/nothing.py"),
    ([f"--config={ROOT}/configs/fnc.py"], "did you mean"),
    (["--config=configs/fcn.py"], "did you mean fcn, which comes with the package?"),
    (["--config=conv9"], "unknown config 'conv9': did you mean 'conv"),
    (["--config=conv9"], "known: bernoulli, biprop, continuous_sparsification, conv2, "),
    (["--config=fcn:relesed"], "did you mean 'released'"),
    ([f"{FCN}:relesed"], "did you mean 'released'"),
    ([f"{QUICK}:released"], "it has no variants: leave out 'released'"),
    ([FCN, "--config.epohcs=3"], "unknown entry config.epohcs: did you mean --config.epochs?"),
    (
        [FCN, "--config.optimizer.momentun=0.5"],
        "did you mean --config.optimizer.momentum? config.opt",
    ),
    ([FCN, "--config.epochs.more=3"], "unknown entry config.epochs.more"),
    ([FCN, "--config.epochs=three"], "--config.epochs=three: it must be a whole number"),
    ([FCN, "--config.epochs=2.5"], "--config.epochs=2.5"),
    (
        [FCN, "--config.data.shuffle=perhaps"],
        "shuffle=perhaps: it must be true or false",
    ),
    ([FCN, "--config.epochs=-1"], "config.epochs must be at least 1, got -1"),
    ([FCN, "--config.batch_size=0"], "config.batch_size must be at least 1, got 0"),
    ([FCN, "--config.mesh=4"], "config.mesh holds entries, not '4': set --config.mesh.data"),
    ([FCN, "--config.learning_rate=1"], "did you mean --config.optimizer.learning_rate?"),
    ([FCN, "--learning_rate=1"], "did you mean --config.optimizer.learning_rate?"),
    ([FCN, "--config.width=2"], "did you mean --config.model.width?"),
    ([FCN, "--lr=fast"], "--config.optimizer.learning_rate=fast: it must be a number"),
    ([FCN, "--config.optimizer=adamv"], "unknown optimizer 'adamv': did you mean 'adam"),
    ([FCN, "--config.method={1:2"], "it must be entries, such as {'name': 'sgd'"),
    ([FCN, "--config.method=dense", "--config.method.score_init=normal"], "(dense) takes name"),
    ([FCN, "--config.schedule={'name':'cosine','epochs':0.0}"], "(cosine) takes per_epoch"),
    ([FCN, "--config.seed=99999999999"], "config.seed must be below 2**32"),
    ([FCN, "--config.epochs=99999999999"], "more than can be counted"),
    ([FCN, "--config.validation_fraction=0.3"], "must be 1 divided by a whole number"),
    ([FCN, "--config.seed=-1"], "config.seed must be at least 0"),
    ([FCN, "--config.protocol=test"], "unknown protocol 'test'"),
    ([FCN, "--config.validation_fraction=0.0"], "validation_fraction must be in (0, 0.5]"),
    ([FCN, "--config.model.name=resnet"], "unknown model 'resnet'"),
    ([FCN, "--config.model.width=0.0"], "config.model.width must be positive"),
    ([FCN, "--config.model.width=0.001"], "(784, 0) holds no weight"),
    ([QUICK, "--config.model.name=conv8"], "cannot be built for digits (8 x 8 x 1)"),
    ([FCN, "--config.data.name=cifar11"], "did you mean 'cifar10'"),
    ([FCN, "--config.method.name=singed"], "did you mean 'signed'"),
    ([FCN, "--config.method.threshold.rule=absolut"], "did you mean 'absolute'"),
    ([FCN, "--config.method.threshold.value=-1"], "at least 0"),
    ([FCN, "--config.optimizer.eps=1"], "config.optimizer (sgdw) takes learning_rate, weight_dec"),
    ([FCN, "--config.optimizer.name=sgdm"], "did you mean 'sgd"),
    ([FCN, "--config.schedule.name=cosin"], "did you mean 'cosine'"),
    ([FCN, "--config.weight_init.scale=hee"], "did you mean 'he'"),
    ([FCN, "--config.optimizer.momentum=3"], "momentum must be at least 0 and below 1, got 3.0"),
    ([FCN, "--config.optimizer.weight_decay=nan"], "weight_decay must be a finite number"),
    ([FCN, "--config.optimizer.learning_rate=inf"], "learning_rate must be a finite number"),
    ([FCN, "--config.schedule.every=inf"], "rate and every must be positive and finite"),
    ([FCN, "--config.weight_init.gain=nan"], "gain must be finite, got nan"),
    ([FCN, "--config.name=../../x"], "config.name must be a file name, without folders, got '../."),
    ([FCN, "--config.name="], "config.name must be a file name"),
    ([FCN, "--config.model.width=inf"], "config.model.width must be positive and below 1e6"),
    ([FCN, "--config.model.width=1e9"], "config.model.width must be positive and below 1e6"),
    ([FCN, "--config.method={}"], "config.method must say its name, got {}"),
    ([FCN, "--config.model={1:2}"], "config.model must say its name"),
    ([FCN, "--config.optimizer={'name':3}"], "config.optimizer must say its name"),
    ([FCN, "--config.optimizer={'name':'sgd','learning_rate':'x'}"], "type float, got 'x'"),
    ([FCN, "--config.method={'name':'signed','threshold':3}"], "threshold must say its rule"),
    ([FCN, "--config.method={'name':'signed','density':[1]}"], "of type float, got [1]"),
    ([FCN, "--config.model={'name':'fcn','activation':{}}"], "unknown activation"),
    ([FCN, "--config.schedule={'name':'cosine','per_epoch':3}"], "of type bool, got 3"),
    ([FCN, "--workdir=a\0b"], "a path holds no NUL character"),
    ([FCN, "--workdir=~nouser/x"], "there is no home folder for ~nouser/x"),
    ([FCN, "--confg.epochs=3"], "confg.epochs"),
    ([FCN, "epochs=3"], "unexpected argument 'epochs=3'"),
    ([FCN, "--config.data.data_dir=/nowhere"], "cannot load data set 'mnist'"),
]


@pytest.mark.parametrize(("argv", "words"), BAD_INPUT)
def test_bad_input_is_one_line_and_writes_nothing(argv, words, capsys, tmp_path):
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert not list(tmp_path.iterdir())


def test_data_that_cannot_be_had_names_every_source(capsys):
    assert main([FCN]) == 1
    message = capsys.readouterr().err
    for source in ("cache:", "tfds:", "npm:", "download:"):
        assert source in message


def test_bad_input_of_a_real_process_has_no_traceback(tmp_path):
    done = run_main(FCN, "--config.epohcs=3", cwd=tmp_path)
    assert done.returncode == 1
    assert len(said_lines(done)) == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_an_unwritable_work_folder(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(tiny_argv(f"--workdir={tmp_path / 'file' / 'run'}")) == 1
    assert "choose another --workdir" in capsys.readouterr().err


def test_print_config(capsys, tmp_path):
    assert main([FCN, "--config.optimizer.learning_rate=1", "--print_config"]) == 0
    out = capsys.readouterr().out
    assert "learning_rate: 1.0" in out
    assert "name: fcn-published" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "count"), [("fcn", "266,200"), ("conv2", "4,300,992"), ("conv8", "5,275,840")]
)
def test_dry_run_counts_and_writes_nothing(name, count, capsys, tmp_path, monkeypatch):
    # Compiling Conv8 is not what this test is for.
    monkeypatch.setattr(
        "supermask_jax.commands.dry_run.plan_step", lambda job, shape: StepPlan(0, 2**20, 0, 0, 0.0)
    )
    assert main([f"--config={ROOT / 'configs' / name}.py", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert f"{count} masked" in out
    assert "dense3/kernel" in out
    assert "steps: 100 epochs of" in out
    assert not list(tmp_path.iterdir())


def test_dry_run_of_the_dense_baseline_plans_memory(capsys):
    assert main([f"{FCN}:baseline", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "0 masked" in out
    assert "MiB temporaries of a step" in out


def test_help_is_complete(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for flag in ("--config", "--workdir", "--print_config", "--dry_run"):
        assert flag in out


def test_default_work_folders(capsys, tmp_path):
    assert main(tiny_argv("--config.epochs=1")) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    # The overrides are in the name: a run of other ones does not land in the same folder.
    assert folder.name.startswith("quickstart-s0-")
    assert main(tiny_argv("--config.epochs=2")) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2
    config = load_config(QUICK.removeprefix("--config="))
    config.seed = 7
    assert common.default_workdir(config, QUICK.removeprefix("--config=")) == "runs/quickstart-s7"
    assert "results in runs/quickstart-s0-" in capsys.readouterr().out


def test_resuming_with_other_places_is_allowed(capsys, tmp_path):
    assert main(tiny_argv("--config.epochs=1", "--workdir=run")) == 0
    again = tiny_argv("--config.epochs=1", "--workdir=run", "--config.data.cache_dir=elsewhere")
    assert main(again) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["epochs"] == 1


def test_every_config_builds_with_the_papers_weights():
    from supermask_jax.experiment import build

    counts = {
        "fcn": 266_200,
        "conv2": 4_300_992,
        "conv4": 2_425_024,
        "conv6": 2_261_184,
        "conv8": 5_275_840,
    }
    import jax

    for name, count in counts.items():
        ours = ("best", "sparse") if name == "fcn" else ()
        for variant in ("published", "released", "baseline", "extreme", *ours):
            job = build(load_config(os.fspath(ROOT / "configs" / f"{name}.py:{variant}")))
            state, _ = jax.eval_shape(job.create, jax.random.key(0))
            assert num_params(state.trainable) == count
