"""Training on a folder of ImageNet's layout, on several devices and processes; plans of it."""

import numpy as np
import pytest
from helpers import ROOT, refused
from PIL import Image
from test_processes import start_processes
from test_seeds import assert_same_runs

from supermask_jax import cli, experiment
from supermask_jax.commands import plan
from supermask_jax.config.files import load_with_overrides
from supermask_jax.data import spec_of
from supermask_jax.errors import UserError
from supermask_jax.training.memory import StepPlan
from supermask_jax.training.workdir import Workdir

CONFIG = str(ROOT / "configs" / "edge_popup.py:resnet18-imagenet")
# Its own network takes minutes to compile; the rates let rounding not grow into other masks.
ENTRIES = """model.name=fcn model.width=0.1 data.image_size=32 batch_size=32 eval_batch_size=32
epochs=1 data.subset=64 optimizer.learning_rate=0.01 schedule.warmup=0.5 schedule.per_epoch=false
data.streaming=always protocol=paper"""
SMALL = [f"--config.{entry}" for entry in ENTRIES.split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of train and val with four classes, of 64 x 48 pixels: 192 and 64 JPEGs."""
    root, random = tmp_path_factory.mktemp("data") / "imagenet", np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 16)):
        for label in range(4):
            place = root / split / f"n{label:08}"
            place.mkdir(parents=True)
            for index in range(count):
                coarse = random.integers(0, 256, (6, 8, 3)) // 2 + 127 * (np.arange(3) == label)
                image = Image.fromarray(coarse.astype(np.uint8)).resize((64, 48))
                image.save(place / f"{index}.JPEG", quality=90)
    return root


def trained(path, folder, *flags):
    config = load_with_overrides(CONFIG, [*SMALL, f"--config.data.name=folder:{folder}", *flags])
    return experiment.run(config, path, quiet=True)


def test_devices_and_processes_train_as_one_device(folder, tmp_path):
    argv = [f"--config={CONFIG}", *SMALL, f"--config.data.name=folder:{folder}"]
    both = start_processes(*argv, f"--workdir={tmp_path / 'two'}")
    summary = trained(tmp_path / "one", folder)
    assert summary["remaining_weights"] == pytest.approx(0.3, abs=1e-3)
    trained(tmp_path / "eight", folder, "--config.mesh.data=8")
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    for other in ("eight", "two"):
        assert_same_runs(tmp_path / other, tmp_path / "one")
    assert Workdir(tmp_path / "two").finished_summary()["data"]["source"] == "folder"


@pytest.mark.parametrize(("devices", "rows"), [(8, 32), (256, 1)])
def test_a_plan_needs_neither_the_images_nor_the_devices(
    devices, rows, capsys, tmp_path, monkeypatch
):
    def planned(trainer, shape):  # Compiling is what `plan_step` is tested for.
        assert (trainer.plan.batch_size, shape) == (rows, (224, 224, 3))
        return StepPlan(0, 2**29, 0, 2**30, 1e12)

    monkeypatch.setattr(plan, "plan_step", planned)
    monkeypatch.chdir(tmp_path)
    argv = ["train", CONFIG, "--config.protocol=paper", "--dry_run", f"--devices={devices}"]
    assert cli.main([*argv, "--tflops=36"]) == 0
    out = capsys.readouterr().out
    assert "there is no folder imagenet" in out
    assert "1000 classes: 1,281,167 train, 0 validation, 50,000 test" in out
    assert "100 epochs of 5005 steps of 256 images = 500,500" in out
    assert f"on {devices} devices, each: {rows} images of a batch, 1.00 GiB" in out
    assert f"work: {devices:.2f} TFLOP a step, {devices * 0.5005:.2f} EFLOP in all" in out
    assert "time: 3.9 hours where each device sustains 36 TFLOP/s" in out  # 500,500 / 36 s.
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError):  # What a plan assumes, no run does.
        spec_of({"name": "folder:imagenet", "image_size": 224})


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--dry_run", "--devices=3"), "batch_size 256 cannot be divided over 3 devices"),
        (("--dry_run", "--tflops=nan"), "must be positive, got 0 and nan"),
        (("--dry_run", "--config.data.image_size=0"), "give --config.data.image_size"),
        (("--devices=8",), "are of --dry_run"),
    ],
)
def test_plans_that_cannot_be(flags, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert line in refused(capsys, "train", CONFIG, *flags)
