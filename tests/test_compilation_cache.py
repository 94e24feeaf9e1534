"""Compiled programs that commands keep: where, when not, and how much."""

import os
import subprocess
import sys

import pytest
from helpers import main_command, tiny_argv

from supermask_jax.commands import compilation_cache
from supermask_jax.training.workdir import Workdir

NAMES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_ENABLE_COMPILATION_CACHE",
)


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """A process that has not imported JAX, with a cache of its own."""
    monkeypatch.delitem(sys.modules, "jax")
    for name in NAMES:
        monkeypatch.setenv(name, "")  # What the test sets is gone after it.
        monkeypatch.delenv(name)
    monkeypatch.setenv("SUPERMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


def test_a_folder_for_this_processor_and_version(outside, monkeypatch):
    compilation_cache.turn_on()
    (folder,) = outside.iterdir()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o077 == 0
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(compilation_cache, "_processor", lambda: "another")
    compilation_cache.turn_on()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] != str(folder)
    assert len(list(outside.iterdir())) == 2


def test_nothing_is_kept_where_the_user_says_so(outside, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "False")
    compilation_cache.turn_on()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ and not outside.exists()


def test_the_folder_of_the_user_and_a_running_jax_stay(outside, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", object())
    compilation_cache.turn_on()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    compilation_cache.turn_on()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine" and not outside.exists()


def test_a_folder_that_cannot_be_made_does_not_matter(outside):
    outside.parent.write_text("a file in its place")
    compilation_cache.turn_on()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_what_belongs_to_another_user_is_not_run(outside, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    compilation_cache.turn_on()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_the_oldest_go_first(tmp_path):
    for age, name in enumerate("abc"):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    compilation_cache._trim(tmp_path, limit=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]


def test_a_second_run_compiles_nothing_anew(tmp_path):
    env = {key: value for key, value in os.environ.items() if key not in NAMES}
    env["SUPERMASK_CACHE"] = str(tmp_path / "cache")
    # All of them: how long a program compiles depends on what else the machine does.
    env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    argv = main_command(*tiny_argv("--config.epochs=1"))
    found = []
    for name in ("first", "second"):
        path = tmp_path / name
        subprocess.run([*argv, f"--workdir={path}"], env=env, check=True, capture_output=True)
        assert '"compilation_cache": "on"' in Workdir(path).env.read_text()
        kept = (tmp_path / "cache" / "compiled").rglob("*-cache")
        found.append((sorted(path.name for path in kept), (path / "masks.npz").read_bytes()))
    assert found[0][0] and found[0] == found[1]
