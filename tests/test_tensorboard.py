"""TensorBoard: pictures show the masks, and no more of them than is bounded."""

import numpy as np
import pytest
from helpers import tiny_config

from supermask_jax import experiment
from supermask_jax.core.trees import named_leaves
from supermask_jax.training import tensorboard
from supermask_jax.training.tensorboard import Board, make_pictures
from supermask_jax.training.workdir import Workdir


class Writer:
    """Keeps what would be written."""

    def __init__(self, path):
        self.images, self.scalars = [], []

    def add_image(self, tag, image, epoch, dataformats):
        self.images.append((tag, image, epoch, dataformats))

    def add_scalar(self, tag, value, epoch):
        self.scalars.append((tag, value, epoch))

    def close(self):
        pass


@pytest.fixture
def writers(monkeypatch):
    module = pytest.importorskip("tensorboardX", reason="the extra is not installed")
    made = []

    def make(path):
        made.append(Writer(path))
        return made[-1]

    monkeypatch.setattr(module, "SummaryWriter", make)
    return made


def test_a_picture_is_the_corner_of_a_mask(monkeypatch):
    monkeypatch.setattr(tensorboard, "MAX_SIDE", 20)
    monkeypatch.setattr(tensorboard, "MAX_LAYERS", 2)
    job = experiment.build(tiny_config())
    state, frozen = job.start()
    masks = named_leaves(job.networks(state, frozen)[0].masks)
    found = make_pictures(job)(state.trainable, frozen)
    assert list(found) == ["dense1/kernel", "dense2/kernel"]
    for name, picture in found.items():
        corner = masks[name][:20, :20]
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, np.where(corner == 0, 128, 255 * (corner > 0)))
    assert set(np.unique(found["dense1/kernel"])) == {0, 128, 255}


def test_a_run_draws_its_masks_epoch_by_epoch(writers, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "MAX_SIDE", 20)
    monkeypatch.setattr(tensorboard, "MAX_LAYERS", 2)
    config = tiny_config(epochs=2, tensorboard_masks=True)
    experiment.run(config, tmp_path / "run", quiet=True)
    (writer,) = writers
    names = [f"mask/dense{i}/kernel" for i in (1, 2)]
    assert [(tag, epoch) for tag, _, epoch, _ in writer.images] == [
        (name, epoch) for epoch in (1, 2) for name in names
    ]
    # Those of the last epoch are those that the run left.
    with np.load(tmp_path / "run" / "masks.npz") as masks:
        for (_, image, _, layout), name in zip(writer.images[2:], masks.files[:2], strict=True):
            expected = np.where(masks[name] == 0, 128, 255 * (masks[name] > 0))
            np.testing.assert_array_equal(image, expected[:20, :20])
            assert layout == "HW"
    assert ("remaining_weights", 2) in [(tag, epoch) for tag, _, epoch in writer.scalars]


def test_epochs_drawn_are_bounded_and_the_last_is_among_them(writers, tmp_path):
    board = Board(Workdir(tmp_path), 120, in_set=True)
    for epoch in range(1, 121):
        board.draw(7, epoch, {"dense1/kernel": np.zeros((2, 2), np.uint8)})
    images = writers[0].images
    assert [epoch for _, _, epoch, _ in images] == list(range(3, 121, 3))
    assert {tag for tag, *_ in images} == {"seed 7/mask/dense1/kernel"}
    board = Board(Workdir(tmp_path), 101, in_set=False)
    for epoch in (99, 100, 101):
        board.draw(0, epoch, {"a": np.zeros((2, 2), np.uint8)})
    assert [epoch for _, _, epoch, _ in writers[1].images] == [99, 101]


def test_the_numbers_of_layers_have_their_names():
    line = {"seed": 0, "epoch": 1, "train_loss": 1.0, "layer_density": {"dense1/kernel": 0.5}}
    found = dict(tensorboard.scalars(line))
    assert found["layer_density/dense1/kernel"] == 0.5
    assert found["train_loss"] == 1.0 and "seed" not in found
