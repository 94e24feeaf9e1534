"""What a run would take on devices that are not here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext

from ml_collections import ConfigDict

from supermask_jax.commands.dry_run import describe
from supermask_jax.data import spec_of
from supermask_jax.data.datasets import assuming
from supermask_jax.data.specs import Spec
from supermask_jax.errors import UserError, expanded
from supermask_jax.experiment import build
from supermask_jax.training.environment import fixed_settings
from supermask_jax.training.memory import StepPlan, plan_step
from supermask_jax.training.trainer import Plan
from supermask_jax.training.waiting import waiting

_IMAGENET = "folder:imagenet"
_NOT_THERE = (
    "there is no folder imagenet: numbers of images and classes are those of ImageNet's challenge "
    "of 2012; training needs imagenet/train and imagenet/val, one folder a class"
)


def described(config: ConfigDict, devices: int = 0, tflops: float = 0.0) -> Iterator[str]:
    """Yields what `dry_run.describe` does, and what a run would take on some devices.

    Args:
      config: of the run; of ImageNet, the folder need not be there.
      devices: how many share a batch; 0 tells nothing of them.
      tflops: that one of them sustains, in 10 ** 12 operations a second; 0 estimates no hours.

    Raises:
      UserError: the config is wrong, or the devices do not divide the batch.
    """
    if devices < 0 or not 0 <= tflops < math.inf:
        raise UserError(f"--devices and --tflops must be positive, got {devices} and {tflops}")
    rows = _rows(config, max(devices, 1))
    missing = config.data.name == _IMAGENET and not expanded("imagenet").exists()
    with assuming(_IMAGENET, _imagenet(config)) if missing else nullcontext():
        if missing:
            yield _NOT_THERE
        if not (devices or tflops):
            yield from describe(config)
            return
        config = config.copy_and_resolve_references()
        config.convolution = "xla"  # As on accelerators.
        yield from describe(config, memory=False)
        yield from _on(config, rows, tflops)


def _imagenet(config: ConfigDict) -> Spec:
    side = config.data.image_size
    if not side:
        raise UserError("images of ImageNet are of many sizes: give --config.data.image_size")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Spec((side, side, 3), 1_281_167, 50_000, 1000, ("folder",), mean=mean, std=std)


def _rows(config: ConfigDict, devices: int) -> int:
    """Returns how many images of a batch each device has."""
    rows, rest = divmod(config.batch_size, devices)
    if rest or rows % config.microbatches:
        parts = f" in {config.microbatches} microbatches" * (config.microbatches > 1)
        raise UserError(
            f"batch_size {config.batch_size}{parts} cannot be divided over {devices} devices"
        )
    return rows


@fixed_settings()
def _planned(config: ConfigDict, rows: int) -> tuple[Plan, StepPlan]:
    """Returns the plan of a run, and that of a step on a device's share of a batch."""
    one = config.copy_and_resolve_references()
    one.num_seeds = 1
    trainer = build(one)
    share = trainer._replace(plan=trainer.plan._replace(batch_size=rows))
    return trainer.plan, plan_step(share, spec_of(one.data).image_shape)


def _on(config: ConfigDict, rows: int, tflops: float) -> Iterator[str]:
    with waiting("compiling a step for the memory it takes"):
        plan, step = _planned(config, rows)
    devices = plan.batch_size // rows
    gib = [f"{size / 2**30:.2f} GiB" for size in (step.peak, step.temporaries)]
    yield (
        f"on {devices} devices, each: {rows} images of a batch, {gib[0]} for a step, of which "
        f"{gib[1]} temporaries, as planned by the compiler here; the data come on top, a few "
        "batches where they are streamed"
    )
    # Of microbatches the compiler counts one.
    work = step.flops * plan.microbatches * devices
    whole = work * plan.total_steps / 1e18
    yield f"work: {work / 1e12:,.2f} TFLOP a step, {whole:,.2f} EFLOP in all"
    if tflops:
        hours = step.flops * plan.microbatches * plan.total_steps / (tflops * 1e12) / 3600
        yield (
            f"time: {hours * config.num_seeds:,.1f} hours where each device sustains {tflops:g} "
            "TFLOP/s; without evaluation, and without waiting for data or for other devices"
        )
