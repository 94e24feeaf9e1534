"""Files that more than one process may want to write: the one lock, and the one way to write.

Who writes takes the lock first, checks under it, and writes under it. `locked` also clears what a
process that was killed in the middle of a write has left there.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from supermask_jax.errors import UserError, expanded

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]

# What file systems without flock answer: Lustre mounted without it, some NFS.
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
_LOCK, _OWNER = ".lock", ".owner"
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")
_POLL_S = 0.05

_log = logging.getLogger("supermask_jax")

Release = Callable[[], object]


# What `user_folder` takes for the folder of the caches.
CACHE = ("SUPERMASK_CACHE", "~/.cache/supermask_jax")


def user_folder(given: str | None, variable: str, default: str) -> str:
    """Returns the folder given, else that of the environment variable, else the default.

    Raises:
      UserError: one of the first two is in a home folder that is not there.
    """
    if named := given or os.environ.get(variable):
        return os.fspath(expanded(named))
    try:
        return os.fspath(expanded(default))
    except UserError:  # A container's user may have no home.
        return os.path.join(tempfile.gettempdir(), "supermask_jax", os.path.basename(default))


def replace(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Writes a file in one step: a reader sees the old one or the new one, never half of it.

    Args:
      path: the file; `locked` keeps others who may write it away.
      content: what it is to hold, or a function that writes it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Writes a file in one step under its lock, for those who need not look at it before."""
    with locked(path):
        replace(path, content)


def is_left_over(path: Path) -> bool:
    """Says whether a file is a lock, or what a killed process was writing: nobody's work."""
    return path.name in (_LOCK, _LOCK + _OWNER) or path.suffix == ".tmp"


@contextlib.contextmanager
def locked(path: Path, *, folder: bool = False) -> Iterator[None]:
    """Keeps other processes away from a file, or out of a folder.

    The lock of a file is waited for. It is let go of however the process ends.

    Args:
      path: it need not be there. The folders that its lock needs are made, and do not stay empty.
      folder: `path` is a folder.

    Raises:
      UserError: another process is in the folder.
      OSError: there can be no lock at `path`.
    """
    lock = path / _LOCK if folder else path.with_name(f".{path.name}{_LOCK}")
    made = [parent for parent in lock.parents if not parent.exists()]
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        release = _acquire(lock)
        if release is None and folder:
            raise UserError(f"another process is training in {path}{_owner(lock)}")
        if release is None:
            _log.info("waiting for another process to write %s%s", path, _owner(lock))
        while release is None:
            time.sleep(_POLL_S)
            release = _acquire(lock)
        try:
            _clear(lock.parent, None if folder else path.name)
            yield
        finally:
            release()
    finally:
        with contextlib.suppress(OSError):  # Something is in it.
            for parent in made:
                parent.rmdir()


def _clear(folder: Path, name: str | None) -> None:
    """Deletes the temporaries of the file `name`, or of all, that `replace` could not."""
    for file in folder.iterdir():
        match = _TEMPORARY.fullmatch(file.name)
        if match and name in (None, match[1]):
            file.unlink(missing_ok=True)


def _acquire(lock: Path) -> Release | None:
    """Returns what releases the lock; None where another process holds it."""
    while fcntl is not None:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it took the file away: a lock on what is not there keeps nobody out.
            if os.path.samestat(os.fstat(file), os.stat(lock)):
                return functools.partial(_release, lock, file)
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(file)
            if isinstance(error, BlockingIOError):
                return None
            if error.errno not in _NO_FLOCK:
                raise
            lock.unlink(missing_ok=True)
            break
        os.close(file)
    # A file that one process alone can make, and which names it; a killed process leaves it.
    owner = lock.with_name(lock.name + _OWNER)
    try:
        owner.touch(exist_ok=False)
    except FileExistsError:
        return None
    owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    return functools.partial(owner.unlink, missing_ok=True)


def _release(lock: Path, file: int) -> None:
    try:
        lock.unlink(missing_ok=True)
    finally:  # A lock that cannot be deleted must not stay held.
        os.close(file)


def _owner(lock: Path) -> str:
    """Says whose the lock is and what to do, where it would outlive a killed process."""
    owner = lock.with_name(lock.name + _OWNER)
    with contextlib.suppress(OSError):
        return f": {owner.read_text()}; if it is gone, delete {owner}"
    return ""
