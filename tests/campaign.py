"""Interrupts runs at every file-system operation, and damages the files of work folders.

    python tests/campaign.py --interruptions=300 --damages=1000

prints how many there were, and what went wrong: a run that went on to another result, a command
that trusted a damaged file, a traceback. Exits with 1 where anything did. A small sample of it is
`test_campaign.py`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ENTRIES = "epochs=2 data.subset=100 model.width=0.05 batch_size=45 checkpoints_to_keep=2"
FLAGS = ["--config=quickstart", *(f"--config.{entry}" for entry in _ENTRIES.split())]
SET = [*FLAGS, "--config.num_seeds=2", "--config.seeds_per_program=1"]


def settings() -> None:
    """Makes runs of this process stable bit for bit, and their programs quick to compile."""
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ |= {"XLA_FLAGS": flags, "JAX_NUM_CPU_DEVICES": "1"}
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp())
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    from absl import logging

    logging.set_verbosity(logging.FATAL)


def _config(flags: list[str]) -> Any:
    from supermask_jax.config.files import load_with_overrides

    return load_with_overrides(flags[0].partition("=")[2], flags[1:])


def interruptions(root: Path, count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yields (what was interrupted, what is wrong with the run that went on) `count` times.

    Every operation comes once torn and once not, of a run alone and of a set, in mixed order; each
    third run that goes on is interrupted once more.
    """
    from damages import left_by
    from interruptions import interrupt, operations

    from supermask_jax import experiment

    kinds = {"run": _config(FLAGS), "set": _config(SET)}
    total = {name: operations(config, root / name) for name, config in kinds.items()}
    wanted = {name: left_by(root / name) for name in kinds}
    rng = random.Random(seed)
    every = [(name, at) for name in kinds for at in range(1, total[name] + 1)]
    places = [(*place, torn) for place in every for torn in (False, True)]
    rng.shuffle(places)
    folder = root / "interrupted"
    for number, (name, at, torn) in enumerate(itertools.islice(itertools.cycle(places), count)):
        shutil.rmtree(folder, ignore_errors=True)
        where = interrupt(kinds[name], folder, at, torn=torn)
        if number % 3 == 0:
            where += " and " + interrupt(kinds[name], folder, rng.randrange(1, 60), torn=not torn)
        wrong = ""
        try:
            experiment.run(kinds[name], folder, quiet=True)
            if (found := left_by(folder)) != wanted[name]:
                wrong = f"other {[key for key in found if found[key] != wanted[name][key]]}"
            elif left := [p.name for p in folder.rglob("*") if p.is_file() and ".tmp" in p.name]:
                wrong = f"leaves {left}"
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        yield f"{name} {at}{' torn' * torn}: {where}", wrong


def cases(root: Path) -> list[Any]:
    """Makes the work folders that are damaged: finished, and stopped on the way."""
    from damages import Case
    from interruptions import interrupt, operations

    found = []
    whole = [("run", FLAGS, 1), ("set", SET, 1)]
    for name, flags, share in [*whole, ("part", FLAGS, 0.72), ("part of a set", SET, 0.7)]:
        folder, config = root / "cases" / name, _config(flags)
        count = operations(config, folder)
        if share < 1:
            shutil.rmtree(folder)
            interrupt(config, folder, int(share * count))
            assert not (folder / "summary.json").exists(), "it was not stopped"
        found.append(Case(name, folder, flags, root))
    return found


def damaged(root: Path, count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yields (what was damaged and run, what is wrong with what was said) `count` times.

    The files of the run itself come with every command, those of checkpoints with one in turn.
    """
    from damages import COMMANDS, WAYS

    rng, trials = random.Random(seed), []
    for case in cases(root):
        for file, way in itertools.product(case.files(), WAYS):
            names = [*COMMANDS] if len(file.parts) == 1 else [rng.choice([*COMMANDS])]
            trials += [(case, command, file, way) for command in names]
    rng.shuffle(trials)
    trials.sort(key=lambda trial: len(trial[2].parts) > 1)  # Those that count most.
    done = 0
    for number, (case, command, file, way) in enumerate(trials):
        if done == count:
            return
        wrong, said = case.try_one(command, file, way, number)
        if wrong == "same":
            continue
        done += 1
        more = said.crash or said.errors if wrong else ""
        yield f"{case.name}: {command} with {way} {file}", f"{wrong}: {more}" if wrong else ""


def main() -> int:
    """Runs the campaign; returns 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interruptions", type=int, default=300)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    settings()
    from interruptions import compiled_once

    failed = False
    with tempfile.TemporaryDirectory() as folder, compiled_once():
        for kind, trials in (
            ("interruptions", interruptions(Path(folder) / "i", args.interruptions, args.seed)),
            ("damaged files", damaged(Path(folder) / "d", args.damages, args.seed)),
        ):
            tried = list(trials)
            wrong = [f"{what}\n  {why}" for what, why in tried if why]
            print(f"{len(tried):6,} {kind}", *wrong, sep="\n", flush=True)
            failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
