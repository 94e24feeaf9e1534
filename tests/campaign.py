"""Interrupts runs, damages their files, starts pairs of them in one folder, and kills them.

    python tests/campaign.py --interruptions=300 --damages=1000 --races=20 --kills=20

prints how many there were, and what went wrong: a run that went on to another result, a command
that trusted a damaged file, a traceback, a folder with files of two runs. Exits with 1 where
anything did. A small sample of it is `test_campaign.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ENTRIES = "epochs=2 data.subset=100 model.width=0.05 batch_size=45 checkpoints_to_keep=2"
FLAGS = ["--config=quickstart", *(f"--config.{entry}" for entry in _ENTRIES.split())]
SET = [*FLAGS, "--config.num_seeds=2", "--config.seeds_per_program=1"]


def settings() -> None:
    """Makes runs of this process stable bit for bit, and their programs quick to compile."""
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
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


def races(root: Path, count: int) -> Iterator[tuple[str, str]]:
    """Yields (seeds of a pair, what is wrong) `count` times.

    Of two commands that start at once in one folder one trains, and every file is of it; the other
    ends with one line.
    """
    from supermask_jax.tickets import load_ticket
    from supermask_jax.training.workdir import Workdir

    main = Path(__file__).parent.parent / "experiments" / "main.py"
    for number in range(count):
        folder, seeds = Workdir(root / str(number)), (number, number + 1000)
        pair = [
            subprocess.Popen(
                [sys.executable, main, *FLAGS, f"--config.seed={seed}", f"--workdir={folder.path}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for seed in seeds
        ]
        errors = [process.communicate()[1].splitlines() for process in pair]
        ended = [process.returncode for process in pair]
        wrong = ""
        if sorted(ended) != [0, 1]:
            wrong = f"exit: {ended}"
        elif not errors[ended.index(1)][-1].startswith("error: "):
            wrong = f"no line: {errors[ended.index(1)][-1]}"
        else:
            seed = seeds[ended.index(0)]
            found = {
                "config.json": folder.read_config()["seed"],
                "summary.json": (folder.finished_summary() or {})["seed"],
                "metrics.jsonl": folder.read_metrics()[0]["seed"],
                "the ticket": load_ticket(folder.ticket).config["seed"],
            }
            of_other = [name for name, value in found.items() if value != seed]
            if of_other or f"--config.seed={seed} " not in folder.env.read_text():
                wrong = f"other: {of_other or ['env.json']}"
        yield f"seeds {seeds}", wrong


def _run_for(seconds: float, path: Path, flags: list[str]) -> float:
    """Trains in `path`, killed so many seconds after its first file; returns how many it took."""
    from data_helpers import LAZY_MAIN
    from helpers import ROOT

    def changed() -> float:
        return path.stat().st_mtime if path.exists() else 0.0

    command = [sys.executable, "-c", LAZY_MAIN, *flags, f"--workdir={path}"]
    before, quiet = changed(), subprocess.DEVNULL
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=env) as run:
        while run.poll() is None and changed() == before:
            time.sleep(0.005)
        started = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(seconds)
        run.kill()
    return time.monotonic() - started


def kills(root: Path, count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yields (when a streamed run was killed, what is wrong with the run that went on).

    SIGKILL comes `count` times, at a random moment between the first file of the work folder and
    the end of the run; each third run that goes on is stopped once more.
    """
    from damages import left_by
    from data_helpers import digit_folder

    from supermask_jax import experiment
    from supermask_jax.data import own

    own.DECODED = 0  # As in the processes: images are decoded as they are needed.
    more = {"data.name": digit_folder(root / "images"), "data.image_size": 8, "epochs": 12}
    more |= {"data.streaming": "always", "steps_per_call": 1, "data.augment": "crop_flip"}
    flags = [*FLAGS, *(f"--config.{key}={value}" for key, value in more.items())]
    whole, folder, rng = root / "whole", root / "killed", random.Random(seed)

    _run_for(600, root / "first", flags)  # Fills the cache of compiled programs.
    seconds, wanted = _run_for(600, whole, flags), left_by(whole)
    summary, lines, done = folder / "summary.json", folder / "metrics.jsonl", 0

    def epochs() -> int:
        return lines.read_text().count("\n") if lines.exists() else 0

    while done < count:
        shutil.rmtree(folder, ignore_errors=True)
        _run_for(rng.uniform(0, seconds), folder, flags)
        if summary.exists():
            continue  # It came too late.
        said = f"killed after {epochs()} epochs"
        if done % 3 == 0:
            _run_for(rng.uniform(0, seconds / 2), folder, flags)
            said += f" and after {epochs()}"
        done += 1
        experiment.run(_config(flags), folder, quiet=True)
        found = left_by(folder)
        other = [key for key in wanted.keys() | found.keys() if found.get(key) != wanted.get(key)]
        yield said, f"other: {other}" if other else ""


def main() -> int:
    """Runs the campaign; returns 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interruptions", type=int, default=300)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--races", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--verbose", action="store_true", help="say what was tried")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    settings()
    from interruptions import compiled_once

    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, compiled_once():
        for kind, trials in (
            ("interruptions", interruptions(Path(folder) / "i", args.interruptions, args.seed)),
            ("damaged files", damaged(Path(folder) / "d", args.damages, args.seed)),
            ("races", races(Path(folder) / "r", args.races)),
            ("kills", kills(Path(folder) / "k", args.kills, args.seed) if args.kills else ()),
        ):
            for what, wrong in trials:
                counts[kind] += 1
                if args.verbose:
                    print(f"{kind}: {what}", flush=True)
                if wrong:
                    counts[f"{kind}: {wrong.partition(':')[0]}"] += 1
                    print(f"{what}\n  {wrong}", flush=True)
                if counts[kind] % 50 == 0:
                    print(dict(counts), flush=True)
    print("\n".join(f"{count:6,} {what}" for what, count in counts.items()))
    return int(any(":" in what for what in counts))


if __name__ == "__main__":
    sys.exit(main())
