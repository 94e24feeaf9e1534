"""The result as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_Rows = list[tuple[str, ...]]


def table(result: Mapping[str, Any]) -> str:
    """Returns what `run` returned as aligned text."""
    env, load = result["env"], result["load_average"]
    blocks = [
        f"{env['backend']} ({env['device']}), {env['cpu_count']} CPUs, jax {env['versions']['jax']}"
        f", load average {load[0]:.1f} before, {load[1]:.1f} after"
    ]
    if "imports" in result:
        blocks.append("imports, in fresh processes\n" + _align(_imports(result["imports"])))
    for name, figures in result["models"].items():
        title = f"{name}: synthetic {figures['data']}, batches of {figures['batch_size']}"
        parts = (
            ("steps", _steps),
            ("epoch", _epoch),
            ("start", _start),
            ("seeds", _seeds),
            ("memory", _memory),
            ("peer", _peer),
        )
        tables = [_align(make(figures[part])) for part, make in parts if part in figures]
        blocks.append(f"{title}\n" + "\n\n".join(tables))
    return "\n\n".join(blocks)


def _align(rows: _Rows) -> str:
    """Pads columns: the first to the left, the others to the right."""
    columns = max(map(len, rows))
    rows = [(*row, *[""] * (columns - len(row))) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(columns)]
    return "\n".join(
        "  ".join(
            [f"  {row[0]:{widths[0]}}", *(f"{row[i]:>{widths[i]}}" for i in range(1, columns))]
        ).rstrip()
        for row in rows
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"


def _s(seconds: float) -> str:
    return f"{seconds:,.2f} s"


def _mib(size: int | None) -> str:
    return "not known" if size is None else f"{size / 2**20:,.1f} MiB"


def _imports(figures: Mapping[str, float]) -> _Rows:
    rows = [(name, _s(value)) for name, value in figures.items() if "over" not in name]
    return [*rows, ("supermask_jax over jax", _s(figures["supermask_jax_over_jax"]))]


def _steps(figures: Mapping[str, Any]) -> _Rows:
    sides, ratio = (figures["masked"], figures["dense"]), figures["ratio"]

    def over(kind: str) -> str:
        low, high = ratio[f"{kind}_range"]
        return f"{ratio[kind]:.2f}x ({low:.2f} to {high:.2f})"

    peak = [side["step_bytes"]["peak"] for side in sides]
    return [
        (f"{figures['pairs']} pairs of {figures['chunk_steps']} steps", "masked", "dense",
         "masked / dense"),
        ("step, wall", *(_ms(side["step_wall_seconds"]) for side in sides), over("wall")),
        ("step, CPU", *(_ms(side["step_cpu_seconds"]) for side in sides), over("cpu")),
        ("images a second", *(f"{side['images_per_second']:,.0f}" for side in sides)),
        *_shares(sides),
        ("compilation", *(_s(side["compile_seconds"]) for side in sides)),
        ("memory of a step, planned", *map(_mib, peak), f"{peak[0] / peak[1]:.2f}x"),
        ("peak memory of the process", _mib(figures["process_peak_bytes"])),
        ("peak memory of the device", _mib(figures["device_peak_bytes"])),
    ]  # fmt: skip


def _shares(sides: tuple[Mapping[str, Any], ...]) -> _Rows:
    if sides[0].get("share_of_peak") is None:
        return []
    return [("of the peak of matrix products", *(f"{s['share_of_peak']:.1%}" for s in sides))]


def _seeds(figures: Mapping[str, Any]) -> _Rows:
    one, many = figures["one"], figures["many"]
    low, high = figures["ratio_range"]
    ratio = f"{figures['ratio']:.2f}x ({low:.2f} to {high:.2f})"
    wall, cpu = "seed_step_wall_seconds", "seed_step_cpu_seconds"
    return [
        (f"{figures['pairs']} pairs of {figures['chunk_steps']} steps", "one seed",
         f"{figures['num_seeds']} seeds", "together / alone"),
        ("step and seed, wall", _ms(one[wall]), _ms(many[wall]), ratio),
        ("step and seed, CPU", _ms(one[cpu]), _ms(many[cpu])),
    ]  # fmt: skip


def _peer(figures: Mapping[str, Any]) -> _Rows:
    ours, peer = figures["ours"], figures["peer"]

    def over(kind: str) -> str:
        low, high = figures[f"ratio_{kind}_range"]
        return f"{figures[f'ratio_{kind}']:.2f}x ({low:.2f} to {high:.2f})"

    names = (f"jax {ours['version']}", f"torch {peer['version']}")
    rows = [(f"{figures['pairs']} pairs of {figures['chunk_steps']} steps, "
             f"{figures['compute_dtype']}", *names, "ours / theirs")]  # fmt: skip
    for kind in ("wall", "cpu"):
        name = f"step_{kind}_seconds"
        rows.append((f"step, {kind}", _ms(ours[name]), _ms(peer[name]), over(kind)))
    peak = [side["process_peak_bytes"] for side in (ours, peer)]
    return [
        *rows,
        ("peak memory of the process", *map(_mib, peak), f"{peak[0] / peak[1]:.2f}x"),
        ("compilation and first step", _s(figures["compile_and_first_step_seconds"])),
        ("difference of the loss", f"{figures['loss_difference']:.0e}"),
        ("largest difference of a gradient", f"{figures['gradient_difference']:.0e}"),
    ]


def _memory(cases: Sequence[Mapping[str, Any]]) -> _Rows:
    return [
        ("batch", "step", "planned for a step", "peak of the process"),
        *(
            (
                f"{case['batch_size']} in {case['microbatches']}",
                _ms(case["step_wall_seconds"]),
                _mib(case["step_bytes"]["peak"]),
                _mib(case["process_peak_bytes"]),
            )
            for case in cases
        ),
    ]


def _epoch(figures: Mapping[str, Any]) -> _Rows:
    def row(label: str, name: str) -> tuple[str, ...]:
        return (label, *(_ms(figures[f"{name}_{clock}_seconds"]) for clock in ("wall", "cpu")))

    fractions = (figures["overhead_wall_fraction"], figures["overhead_cpu_fraction"])
    parts = figures["parts_alone_seconds"]
    return [
        (f"{figures['epochs']} epochs of {figures['steps_per_epoch']} steps", "wall", "CPU"),
        row("epoch", "epoch"),
        row("  steps", "steps"),
        row(f"  evaluation of {figures['evaluated_images']:,} images", "evaluation"),
        row("  overhead", "overhead"),
        ("  overhead over the steps of a whole epoch", *(f"{value:.1%}" for value in fractions)),
        *((f"    {name.replace('_', ' ')}, alone", _ms(value)) for name, value in parts.items()),
    ]


def _start(figures: Mapping[str, Any]) -> _Rows:
    loading = figures["data_loading_seconds"]
    return [
        ("launch to first step", _s(figures["first_step_seconds"])),
        ("with a compilation cache", _s(figures["first_step_cached_seconds"])),
        ("data loading", "not cached" if loading is None else _s(loading)),
    ]
