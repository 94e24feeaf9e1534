"""The lock and the writer that all files share, also where there is no flock."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest
from helpers import ROOT

from supermask_jax import files
from supermask_jax.errors import UserError

TEMPORARY = f".a.json.{'0' * 32}.tmp"


def no_flock(number):
    def flock(file, how):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture(params=["flock", "ENOSYS", "no fcntl"])
def kind(request, monkeypatch):
    """Every system there is: with flock, file systems without, and one that knows no such thing."""
    if request.param == "no fcntl":
        monkeypatch.setattr(files, "fcntl", None)
    elif request.param == "ENOSYS":
        monkeypatch.setattr(files.fcntl, "flock", no_flock(errno.ENOSYS))
    return request.param


def test_a_folder_has_one_owner_and_keeps_no_lock(kind, tmp_path):
    folder = tmp_path / "new" / "run"
    with files.locked(folder, folder=True):
        assert files.is_left_over(next(folder.iterdir()))
        with pytest.raises(UserError, match="another process is training in") as caught:
            with files.locked(folder, folder=True):
                pass
        assert "\n" not in str(caught.value)
        if kind != "flock":  # A killed process of another machine would keep it.
            assert f"process {os.getpid()} on " in str(caught.value)
            assert str(caught.value).endswith(f"if it is gone, delete {folder / '.lock.owner'}")
    assert not list(tmp_path.iterdir())
    with files.locked(folder, folder=True):
        (folder / "config.json").touch()
    assert [file.name for file in folder.iterdir()] == ["config.json"]


def test_what_is_read_and_written_under_the_lock_of_a_file_is_never_lost(kind, tmp_path):
    path = tmp_path / "log"

    def add(name):
        for _ in range(5):
            with files.locked(path):
                old = path.read_bytes() if path.exists() else b""
                time.sleep(0.001)
                files.replace(path, old + name)

    threads = [threading.Thread(target=add, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_bytes()) == sorted(b"abc" * 5)
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_a_lock_that_a_kill_leaves_keeps_nobody_out(tmp_path):
    (tmp_path / ".lock").touch()
    with files.locked(tmp_path, folder=True):
        pass
    assert not list(tmp_path.iterdir())


def test_other_errors_of_the_lock_are_not_taken_for_its_absence(tmp_path, monkeypatch):
    monkeypatch.setattr(files.fcntl, "flock", no_flock(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), files.locked(tmp_path, folder=True):
        pass


def test_stale_temporaries_go_at_the_next_start_and_nothing_else_does(tmp_path):
    others = ["b.tmp", ".notes.tmp", "thesis.tex"]
    for name in (TEMPORARY, TEMPORARY.replace(".a.", ".b."), *others):
        (tmp_path / name).touch()
    files.write(tmp_path / "a.json", b"{}")  # Only its own: others may be under way.
    assert not (tmp_path / TEMPORARY).exists()
    with files.locked(tmp_path, folder=True):
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, "a.json", ".lock"])


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write(tmp_path / "a", fail)
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_package_is_imported_where_there_is_no_fcntl():
    code = "import sys; sys.modules['fcntl'] = None; import supermask_jax.experiment"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
