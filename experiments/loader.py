"""How fast a folder of JPEG is read, beside torchvision's loader and Grain, and whether steps wait.

Each side has its process, and they take turns; a turn goes a few times over the same files. Every
image is decoded, resized to 224 on its shorter side and cropped, by Pillow on all sides.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from timing import Cost, Process, call, ratios

from supermask_jax.config import default_config
from supermask_jax.data import own
from supermask_jax.data.images import decode
from supermask_jax.experiment import build, load_data, split_data
from supermask_jax.training.loop import make_train_steps
from supermask_jax.training.streaming import Dispatch, dispatches
from supermask_jax.training.trainer import Trainer

PEERS = ("torchvision", "grain")
_SIZE, _BATCH = 224, 64
_FILES, _TIMES = 320, 5  # images, a tenth for evaluation; how often a turn goes over the others
_SKIPPED = 5  # batches of a turn that are not counted: some are read ahead while all starts
_TAKEN = (0.5, 0.8, 0.9)  # of what is read, by a device
_PAUSES = 3  # measurements of each
_MODEL, _STEPS = "resnet18", 9  # of a network, the first of which is compiled


def make_folder(root: Path, count: int) -> None:
    """Writes JPEG of 500 x 375 and 375 x 500 in four classes, as ImageNet has them: 60 kB each."""
    rng = np.random.default_rng(0)
    for index in range(count):
        width, height = (500, 375) if index % 3 else (375, 500)
        coarse = rng.integers(0, 256, (height // 25, width // 25, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth, np.int16) + rng.integers(-12, 13, (height, width, 3))
        place = (
            root / ("val" if index % 10 == 9 else "train") / f"n{index // 10 % 4}" / f"{index}.jpg"
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(place, quality=90)


def measure_loader(*, repeats: int) -> dict[str, Any]:
    """Measures the loader and those of its peers that are installed, taking turns.

    Args:
      repeats: turns of each side.

    Returns:
      Images a second and CPU milliseconds an image of each side, worker processes counted, and
      seconds to its first batch; ratios ours over theirs; the share of time for which a device
      waits that takes less than is read; and the same of the steps of a ResNet18 on this machine.
    """
    with TemporaryDirectory() as folder:
        make_folder(Path(folder), _FILES)
        names = ["ours", *(name for name in PEERS if importlib.util.find_spec(name))]
        turns = [{name: _turn(name, folder) for name in names} for _ in range(repeats)]
        sides = {
            name: {
                "version": importlib.metadata.version({"ours": "supermask-jax"}.get(name, name)),
                **{key: statistics.median(t[name][key] for t in turns) for key in turns[0][name]},
            }
            for name in names
        }
        costs = [
            {n: Cost(1 / t[n]["images_per_second"], t[n]["cpu_ms_per_image"]) for n in names}
            for t in turns
        ]
        return {
            "files": _FILES,
            "image_size": _SIZE,
            "batch_size": _BATCH,
            "workers": _workers(),
            "turns": repeats,
            "sides": sides,
            "ratio": {name: ratios(costs, "ours", name) for name in names[1:]},
            "waiting": [_waiting(folder, share) for share in _TAKEN],
            "training": _training(folder),
        }


def _workers() -> int:
    return os.cpu_count() or 1


def _turn(name: str, folder: str) -> dict[str, float]:
    with Process(name, call(one_turn, name, folder)) as process:
        return json.loads(process.line())


def one_turn(name: str, folder: str) -> None:
    """Reads in a process of its own, and prints one line of JSON."""
    _PREPARE.get(name, lambda: None)()
    start = time.perf_counter()
    batches = _BATCHES[name](folder)
    times = [(time.perf_counter(), cpu_seconds(), len(batch)) for batch in batches]
    (before, cpu_before, _), (after, cpu_after, _) = times[_SKIPPED - 1], times[-1]
    count = sum(size for _, _, size in times[_SKIPPED:])
    found = {
        "images_per_second": count / (after - before),
        "cpu_ms_per_image": 1e3 * (cpu_after - cpu_before) / count,
        "start_seconds": times[0][0] - start,
    }
    print(json.dumps(found), flush=True)


def cpu_seconds() -> float:
    """Returns the CPU time of this process and of the processes that it has started (Linux)."""
    found, pending = 0.0, [os.getpid()]
    while pending:
        place = Path("/proc", str(pending.pop()))
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            children = [(t / "children").read_text() for t in (place / "task").iterdir()]
        except OSError:
            continue  # It has ended.
        found += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        pending += [int(pid) for text in children for pid in text.split()]
    return found


def _order(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.permutation(count) for _ in range(_TIMES)])


def _job(
    folder: str, size: int, batch_size: int, **entries: Any
) -> tuple[Trainer, Any, ConfigDict]:
    """Returns a run whose data are read from a folder as they are needed."""
    config = default_config()
    config.data.name, config.data.image_size = f"folder:{folder}", size
    config.data.streaming, config.protocol, config.batch_size = "always", "paper", batch_size
    config.update_from_flattened_dict(entries)
    before, own.DECODED = own.DECODED, 0
    try:
        job = build(config)
        return job, split_data(load_data(config), config, job.layout).train, config
    finally:
        own.DECODED = before


def _stream(folder: str) -> Iterator[Dispatch]:
    """Yields what a run with one step a dispatch would train on, a few epochs of it."""
    job, stream, _ = _job(folder, _SIZE, _BATCH)
    order = _order(len(stream.rows))
    steps = len(order) // _BATCH
    plan = job.plan._replace(steps_per_call=1, steps_per_epoch=steps, num_train=len(order))
    return dispatches(stream, order[None], 0, plan, np.asarray)


def _ours(folder: str) -> Iterator[Any]:
    return (range(part.data.labels.size) for part in _stream(folder))


def _torchvision(folder: str) -> Iterator[Any]:
    import torch
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    torch.set_num_threads(1)
    steps = Compose([Resize(_SIZE), CenterCrop(_SIZE), PILToTensor()])
    data = ImageFolder(f"{folder}/train", steps)
    data = Subset(data, _order(len(data)).tolist())
    loader = DataLoader(data, _BATCH, num_workers=_workers(), drop_last=True)
    return (labels for _, labels in loader)


def _grain(folder: str) -> Iterator[Any]:
    import grain
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # Its workers read flags, which nobody parses in a library.
    paths = sorted(Path(folder, "train").rglob("*.jpg"))
    data = grain.MapDataset.source([paths[i] for i in _order(len(paths))])
    data = data.map(functools.partial(decode, size=_SIZE)).batch(_BATCH, drop_remainder=True)
    options = grain.MultiprocessingOptions(num_workers=_workers())
    return iter(data.to_iter_dataset(grain.ReadOptions(num_threads=0)).mp_prefetch(options))


_BATCHES: dict[str, Callable[[str], Iterator[Any]]] = {
    "ours": _ours,
    "torchvision": _torchvision,
    "grain": _grain,
}
_PREPARE: dict[str, Callable[[], Any]] = {"ours": jax.devices}


def _waiting(folder: str, share: float) -> dict[str, Any]:
    """Returns the share of time for which a device waits that takes `share` of what is read.

    The device is a pause: it needs no CPU, as an accelerator needs none. How much is read is
    measured each time just before: on a busy machine it changes.
    """
    found = []
    for _ in range(_PAUSES):
        _, seconds = _waits(_stream(folder), lambda part: None)
        pause = seconds / share
        found.append(_waits(_stream(folder), lambda part, pause=pause: time.sleep(pause))[0])
    return {
        "taken": share,
        "waiting_share": statistics.median(found),
        "waiting_share_range": [min(found), max(found)],
    }


def _waits(parts: Iterator[Dispatch], step: Callable[[Dispatch], Any]) -> tuple[float, float]:
    """Returns the share of time that goes by before the next batches are there; seconds a step.

    What is read before the first step is not counted: a few are read while it is compiled.
    """
    step(next(parts))
    waited, count, start = 0.0, 0, time.perf_counter()
    while True:
        before = time.perf_counter()
        part = next(parts, None)
        waited += time.perf_counter() - before
        if part is None:
            seconds = time.perf_counter() - start
            return waited / seconds, seconds / count
        step(part)
        count += 1


def _training(folder: str, batch_size: int = 16) -> dict[str, Any]:
    """Trains a ResNet18 on the folder at 64 x 64, the cost an image of one for 224 x 224."""
    entries = {"model.name": _MODEL, "model.norm": "all", "steps_per_call": 1}
    job, stream, config = _job(folder, 64, batch_size, **entries)
    state, frozen = job.start()
    train_steps = make_train_steps(job)

    def step(part: Dispatch) -> None:
        nonlocal state
        state, _ = train_steps(state, frozen, *part)
        jax.block_until_ready(state)

    plan = job.plan._replace(steps_per_epoch=min(_STEPS, job.plan.steps_per_epoch))
    parts = dispatches(stream, job.order()(0), 0, plan, job.layout.fetch)
    share, seconds = _waits(parts, step)
    return {
        "model": config.model.name,
        "image_size": 64,
        "batch_size": batch_size,
        "step_wall_seconds": seconds,
        "waiting_share": share,
    }


def say_loader(found: dict[str, Any]) -> Iterator[str]:
    """Yields the figures as lines of text."""
    for name, side in found["sides"].items():
        ratio = f"; ours / {name} {found['ratio'][name]['cpu']:.2f}" if name != "ours" else ""
        yield (
            f"{name}: {side['images_per_second']:,.0f} images a second, "
            f"{side['cpu_ms_per_image']:.2f} ms of CPU an image{ratio}"
        )
    for case in found["waiting"]:
        yield (
            f"a device that takes {100 * case['taken']:.0f} % of that waits for "
            f"{100 * case['waiting_share']:.1f} % of the time"
        )
    case = found["training"]
    yield (
        f"{case['model']}: step {case['step_wall_seconds']:.2f} s, of which "
        f"{100 * case['waiting_share']:.1f} % waiting for images"
    )
