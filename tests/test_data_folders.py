"""Folders of images as data: sizes, modes, and each wrong form with its one line."""

import numpy as np
import pytest
from data_helpers import PIXELS, folder_of
from PIL import Image

from supermask_jax.data import images, load
from supermask_jax.errors import UserError


def test_images_are_resized_and_cropped(tmp_path):
    Image.new("RGB", (40, 20), (10, 200, 30)).save(tmp_path / "wide.jpg", quality=95)
    found = images.decode(tmp_path / "wide.jpg", 8)
    assert found.shape == (8, 8, 3)
    np.testing.assert_allclose(found[3, 3], (10, 200, 30), atol=4)
    gradient = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (8, 1))[None, ..., None]
    middle = images.resized(gradient, 8)[0, 0, :, 0]
    np.testing.assert_array_equal(middle, gradient[0, 0, 4:12, 0])  # Cropped, not squeezed.


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA"])
def test_other_modes_become_grey_or_rgb(mode, tmp_path):
    suffix = "jpg" if mode == "CMYK" else "png"
    data = load(f"folder:{folder_of(tmp_path, name='{}.' + suffix, mode=mode)}")
    assert data.train.images.shape == (12, 8, 6, 1 if mode == "L" else 3)


def test_one_colour_image_makes_all_of_three_channels(tmp_path):
    root = folder_of(tmp_path, mode="L")
    Image.fromarray(PIXELS[0]).save(root / "train" / "class0" / "0.png")
    assert load(f"folder:{root}").train.images.shape == (12, 8, 6, 3)


def _without(name):
    def change(root):
        (root / name).rename(root / "other")

    return change


def _torn(root):
    place = root / "train" / "class1" / "1.png"
    place.write_bytes(place.read_bytes()[:60])


def _bigger(root):
    Image.new("RGB", (9, 9)).save(root / "train" / "class1" / "1.png")


def _empty(root):
    (root / "train" / "class3").mkdir()
    (root / "test" / "class3").mkdir()


FOLDERS = {
    "has no folder train": _without("train"),
    "has no folder test": _without("test"),
    "1.png is no image that can be read": _torn,
    "1.png is of (9, 9) and others of (8, 6): give --config.data.image_size": _bigger,
    "class3 holds no image": _empty,
    "class class3 has a folder in train only": lambda root: (root / "train" / "class3").mkdir(),
    "mode I": lambda root: Image.fromarray(np.full((8, 6), 7000, np.uint16)).save(
        root / "train" / "class0" / "0.png"
    ),
}


@pytest.mark.parametrize("line", FOLDERS)
def test_wrong_folders_are_named_in_one_line(line, tmp_path):
    FOLDERS[line](folder_of(tmp_path))
    with pytest.raises(UserError) as raised:
        load(f"folder:{tmp_path}")
    assert line in str(raised.value) and "\n" not in str(raised.value)
