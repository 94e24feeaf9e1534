"""Compiled programs, kept between commands: the second start of a run compiles nothing.

JAX's persistent compilation cache, in a folder of the user's cache that is named by processor and
version: machine code of another processor is never loaded. `JAX_COMPILATION_CACHE_DIR` names
another folder, `JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from supermask_jax.errors import UserError
from supermask_jax.files import CACHE, user_folder

_LIMIT = 1 << 30  # bytes


def turn_on() -> None:
    """Lets JAX keep what it compiles, if nothing else is said and JAX is not running yet."""
    if "jax" in sys.modules or "JAX_COMPILATION_CACHE_DIR" in os.environ or os.name == "nt":
        return
    if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() in ("0", "false", "no", "off"):
        return
    with contextlib.suppress(OSError, UserError):  # Without a cache all works as well.
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What others may write to is not run.
        if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
            _trim(folder)
            os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
            # JAX keeps only what took a second or more: less than most of what a run compiles.
            os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def _folder() -> Path:
    """Returns the folder for programs of this user, processor and version."""
    known = f"{_processor()} {metadata.version('jaxlib')}"
    name = hashlib.sha256(known.encode()).hexdigest()[:12]
    return Path(user_folder(None, *CACHE)) / "compiled" / name


def _processor() -> str:
    """Says what machine code may use here: the processor's model, and its sets of instructions."""
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(wanted))
    return f"{platform.machine()} {platform.processor()}"


def _trim(folder: Path, limit: int = _LIMIT) -> None:
    """Deletes the oldest programs beyond `limit` bytes."""
    found = [(path.stat(), path) for path in folder.iterdir() if path.is_file()]
    left = sum(stat.st_size for stat, _ in found)
    for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime):
        if left <= limit:
            break
        path.unlink(missing_ok=True)
        left -= stat.st_size
