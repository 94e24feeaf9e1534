"""Damaged files of work folders, and what each command then says: for tests and `campaign`."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import json
import random
import re
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from supermask_jax import cli

Flags = list[str]

# Command -> its arguments; {a} is the damaged folder, {b} a whole one.
COMMANDS: dict[str, Flags] = {
    "train": ["--plain", "--workdir={a}"],
    "evaluate": ["{a}"],
    "inspect": ["{a}"],
    "compare": ["{a}", "{b}"],
    "export": ["--workdir={a}", "--out={a}.ticket"],
    "report": ["{a}", "--quick", "--out={a}.html"],
}


def _leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        yield (*at, key)
        if isinstance(item, (dict, list)):
            yield from _leaves(item, (*at, key))


def _edited(content: bytes, rng: random.Random, change: Callable[[Any, Any], None]) -> bytes:
    """Changes one entry of JSON, or of one line of it; of other content cuts a piece out."""
    try:
        *rest, text = content.splitlines() if content.count(b"}\n{") else [content]
        value = json.loads(text)
        *way, key = rng.choice(list(_leaves(value)))
        node = value
        for step in way:
            node = node[step]
        change(node, key)
        return b"\n".join([*rest, json.dumps(value).encode()]) + b"\n"
    except (ValueError, IndexError):
        middle = rng.randrange(len(content) or 1)
        return content[:middle] + content[middle + 7 :]


def _of_another_kind(node: Any, key: Any) -> None:
    node[key] = {"no": [None]} if not isinstance(node[key], (dict, list)) else "text"


def _flipped(content: bytes, rng: random.Random) -> bytes:
    # Of text a byte that makes it none: another digit is another number, and no damage to see.
    changed = bytearray(content or b"0")
    changed[rng.randrange(len(changed))] ^= 0x80
    return bytes(changed)


WAYS: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "list": lambda content, rng: b'[1, "two"]\n',
    "half": lambda content, rng: content[: len(content) // 2],
    "empty": lambda content, rng: b"",
    "flip": _flipped,
    "lost key": lambda content, rng: _edited(content, rng, lambda node, key: node.pop(key)),
    "other kind": lambda content, rng: _edited(content, rng, _of_another_kind),
    "folder": lambda content, rng: None,
}


class Said:
    """What a command printed, how it ended, and what it left."""

    def __init__(self, command: str, flags: Flags, a: Path, b: Path) -> None:
        out, err = io.StringIO(), io.StringIO()
        argv = [command, *(word.format(a=a, b=b) for word in COMMANDS[command])]
        self.crash, self.status = "", -1
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                self.status = cli.main([*argv, *flags] if command == "train" else argv)
            except BaseException as error:
                self.crash = "".join(traceback.format_exception(error)[-3:])
        self.text, self.errors = _TIMES.sub("", out.getvalue()), err.getvalue()
        self.left = left_by(a)

    def verdict(self, whole: Said, path: Path) -> str:
        """Says "" where that is well beside what the whole folder gives, else what is wrong."""
        if self.crash or "Traceback" in self.errors:
            return "traceback"
        if self.status:
            last = self.errors.strip().splitlines()[-1:]
            return "" if last and last[0].startswith("error: ") else "no line"
        same = (self.text, self.left) == (whole.text, whole.left) or whole.status != 0
        said = self.text + self.errors + self.left["a.html"]
        part = path.relative_to(_folder(path)).parts
        # A broken checkpoint is told by its step; a frozen weight by its folder.
        step = part[2] if part[:2] == ("checkpoints", "steps") else None
        named = path.name in said or (step is not None and f"checkpoint of step {step}" in said)
        return "" if same or named else "silent"


def _folder(path: Path) -> Path:
    return next(p for p in path.parents if p.name == "a")


_TIMES = re.compile(
    r"\"sha256\": \"\w+\"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d[^<,\"]*|\"seconds\": [\d.]+|\d+\.\d+ s\b"
)


def left_by(a: Path) -> dict[str, str]:
    """Returns what a run or a command has left that must be as it was, but for times."""
    names = ("metrics.jsonl", "summary.json", "masks.npz", "ticket.safetensors")
    places = [*(a / name for name in names), a.with_name("a.html"), a.with_name("a.ticket")]
    found = {path.name: path.read_bytes() if path.is_file() else b"" for path in places}
    return {name: _TIMES.sub("", data.decode("latin-1")) for name, data in found.items()}


class Case:
    """A work folder, the flags that trained it, and what each command says of it whole."""

    def __init__(self, name: str, folder: Path, flags: Flags, root: Path) -> None:
        self.name, self.folder, self.flags, self.root = name, folder, flags, root
        self._whole: dict[str, Said] = {}

    def files(self) -> list[Path]:
        """The files of the folder, those of the run first and those of checkpoints last."""
        there = (path for path in self.folder.rglob("*") if path.is_file())
        found = [path.relative_to(self.folder) for path in there if path.name != ".lock"]
        return sorted(found, key=lambda path: (len(path.parts), path))

    def try_one(self, command: str, file: Path | None, way: str, seed: int) -> tuple[str, Said]:
        """Damages `file` in a copy, runs the command and says what is wrong with what it does."""
        if file is not None:
            self.whole(command)  # Before the copy is damaged: it takes the same place.
        a, b = self.root / "a", self.root / "b"
        for place in (a, b):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(self.folder, place)
        for end in ("html", "ticket"):
            a.with_name(f"a.{end}").unlink(missing_ok=True)
        if file is None:
            return "", Said(command, self.flags, a, b)
        before = (a / file).read_bytes()
        after = WAYS[way](before, random.Random(seed))
        if after is None:
            (a / file).unlink()
            (a / file).mkdir()
        else:
            (a / file).write_bytes(after)
        if after == before or self._may_be(a / file, way, command):
            return "same", copy.copy(self.whole(command))
        if command != "train":  # What reads must not mind what is damaged, and must not mend it.
            whole = self._damaged_whole(command, a, file)
        else:
            whole = self.whole(command)
        said = Said(command, self.flags, a, b)
        return said.verdict(whole, a / file), said

    def _may_be(self, path: Path, way: str, command: str) -> bool:
        """Says whether a file is now as a run may leave it: nothing tells that from damage."""
        if path.name == "metrics.jsonl" and not (self.folder / "summary.json").exists():
            return way == "half"  # As if the run had been killed before.
        # Older versions wrote no SHA-256.
        return way == "lost key" and path.suffix == ".json" and b'"sha256"' not in path.read_bytes()

    def _damaged_whole(self, command: str, a: Path, file: Path) -> Said:
        """Returns what is said of the whole folder, had it left the damaged file as it is."""
        whole = copy.copy(self.whole(command))
        if file.name in whole.left:
            whole.left = whole.left | {file.name: left_by(a)[file.name]}
        return whole

    def whole(self, command: str) -> Said:
        """Returns what a command says of the whole folder."""
        if command not in self._whole:
            self._whole[command] = self.try_one(command, None, "", 0)[1]
            gc.freeze()  # What is compiled stays: later collections need not look at it.
        return self._whole[command]
