"""Settings of the process that a command meets: streams, homes, JAX's own."""

import jax
import pytest

from supermask_jax import cli
from supermask_jax.data.datasets import find_folders
from supermask_jax.errors import UserError, expanded


def test_a_platform_without_a_device_is_one_line(monkeypatch, capsys):
    def none(*unused):
        raise AssertionError

    argv = ["train", "--config=any"]
    monkeypatch.setattr("supermask_jax.commands.train.run", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", none)
    assert cli.main(argv) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: JAX finds no device of JAX_PLATFORMS=cuda here: unset it")
    monkeypatch.setattr(jax, "devices", lambda: [])
    with pytest.raises(AssertionError):  # Another fault is not blamed on it.
        cli.main(argv)


def test_paths_that_cannot_be(monkeypatch):
    with pytest.raises(UserError, match="no home folder for ~nouser/a: set HOME"):
        expanded("~nouser/a")
    with pytest.raises(UserError, match="a path holds no NUL character"):
        expanded("a\0b")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # No HOME, and no such user.
    for name in ("TFDS_DATA_DIR", "SUPERMASK_CACHE"):
        monkeypatch.delenv(name, raising=False)
    assert not any(folder.startswith("~") for folder in find_folders())
