"""How far it is from the command line to the line that applies a mask, and to a score's update.

In frames of our own, of a real run: the way must not grow.
"""

import runpy
import sys
import traceback

import jax
import optax
import pytest
from helpers import ROOT, tiny_argv

from supermask_jax.core import masks
from supermask_jax.methods import signed

MAIN = str(ROOT / "experiments" / "main.py")


def own_frames():
    """(file, function) of the frames from the command line's file on."""
    found = [(frame.filename, frame.name) for frame in traceback.extract_stack()]
    start = max(i for i, (file, _) in enumerate(found) if file == MAIN)
    ours = [(file.removeprefix(f"{ROOT}/"), name) for file, name in found[start:]]
    return [(f, name) for f, name in ours if f.startswith(("experiments/", "supermask_jax/"))]


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """What led to the first call of each function in a train step."""
    found = {}

    def watch(module, name, monkeypatch):
        function = getattr(module, name)

        def noting(*args, **options):
            frames = own_frames()
            if "train_step" in [name for _, name in frames]:
                found.setdefault(name, frames)
            return function(*args, **options)

        monkeypatch.setattr(module, name, noting)

    folder = tmp_path_factory.mktemp("spine") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        watch(sys.modules[signed.__module__], "signed_weights", monkeypatch)
        watch(optax, "apply_updates", monkeypatch)
        monkeypatch.setattr(
            sys, "argv", [MAIN, *tiny_argv("--config.epochs=1", f"--workdir={folder}")]
        )
        jax.clear_caches()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(MAIN, run_name="__main__")
        assert not stop.value.code
    found["signed_weights"].append(("supermask_jax/core/masks.py", masks.signed_weights.__name__))
    return found


@pytest.mark.parametrize(
    ("name", "start", "most_frames", "most_files"),
    [
        ("signed_weights", "experiments/main.py", 12, 9),
        ("apply_updates", "experiments/main.py", 9, 6),
        ("apply_updates", "supermask_jax/experiment.py", 6, 3),
    ],
)
def test_the_way_is_short(ways, name, start, most_frames, most_files):
    files = [file for file, _ in ways[name]]
    way = ways[name][files.index(start) :]
    print(*(f"{file}:{function}" for file, function in way), sep="\n")
    assert len(way) <= most_frames
    assert len({file for file, _ in way}) <= most_files
