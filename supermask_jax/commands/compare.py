"""``supermask compare``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from supermask_jax.commands.common import PLACES_EPILOG, add_places
from supermask_jax.errors import UserError

if TYPE_CHECKING:
    from supermask_jax.commands.places import Found
    from supermask_jax.tickets import Ticket
    from supermask_jax.tickets.comparison import Overlap

EPILOG = f"""\
{PLACES_EPILOG}
Accuracies come with 95 % intervals: of one network over its test images (Wilson), of a folder with
several seeds also of the mean over seeds (Student-t). Masks are compared with two that were
drawn at random with as many weights; same sign: share of the weights kept by both whose effective
weights agree in sign.
"""
EXAMPLES = (
    "compare runs/quickstart-s0 runs/quickstart-s1",
    "compare fcn-best fcn-sparse",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_places(parser, number=2)


def run(args: argparse.Namespace) -> None:
    """Prints two places side by side."""
    from supermask_jax import tickets
    from supermask_jax.analysis.tables import Table
    from supermask_jax.commands import places
    from supermask_jax.tickets import card

    found = [places.find(place, args.seed) for place in args.places]
    a, b = pair = [f.ticket for f in found]
    overlaps, why_none = {}, "one of them is dense: there are no masks to compare"
    if a.layers and b.layers:
        try:
            overlaps, why_none = tickets.compare(a, b), ""
        except UserError as error:
            why_none = str(error)
    if args.json:
        print(_as_json(found, overlaps))
        return
    abouts = [card.about(ticket) for ticket in pair]
    rows = [
        ("method", *(t.method or "unknown" for t in pair)),
        ("model", *map(places.model_text, pair)),
        ("accuracy", *(about["accuracy"] for about in abouts)),
        ("over seeds", *map(_seeds_text, args.places)),
        ("remaining", *(about["remaining"] for about in abouts)),
    ]
    rows = [row for row in rows if row[1:] != ("-", "-")]
    print(Table(("", *args.places), rows).text())
    print("\n".join(["", *config_lines(a, b), ""]))
    print(why_none or _overlap_table(overlaps))


def _seeds_text(place: str) -> str:
    """Returns the mean accuracy over the seeds of a folder, "-" where it is no finished set."""
    from supermask_jax.analysis.intervals import percent
    from supermask_jax.commands.places import check_place

    path = check_place(place)
    if path.is_file():
        return "-"
    from supermask_jax.training.workdir import Workdir  # Imports JAX.

    summary = Workdir(path).finished_summary() or {}
    if "runs" not in summary:
        return "-"
    return f"{percent(summary['test_accuracy'])} %, mean of {summary['test_accuracy']['n']} seeds"


def _whole(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with the entries that an older version did not have, as JSON has it."""
    from supermask_jax.config.files import default_identity

    defaults = default_identity()
    whole = {**defaults, **config, "data": {**defaults["data"], **config.get("data", {})}}
    return json.loads(json.dumps(whole))


def config_lines(a: Ticket, b: Ticket) -> list[str]:
    """Returns the differing entries of the configs of two tickets, each as ``key: a -> b``."""
    from supermask_jax.run_files import config_differences

    if not (a.config and b.config):
        return ["config: not known of both"]
    lines = config_differences(_whole(a.config), _whole(b.config))
    head = f"config: {len(lines) or 'no'} difference{'s' * (len(lines) != 1)}"
    return [head, *(f"  {line}" for line in lines)]


def _as_json(found: Sequence[Found], overlaps: Mapping[str, Any]) -> str:
    from supermask_jax.analysis.intervals import share_interval
    from supermask_jax.commands import places

    pair = []
    for ticket, _ in found:
        known = ticket.accuracy
        shown = share_interval(known["value"], known["images"])[1:3] if known else None
        pair.append(places.about(ticket) | {"accuracy_interval": shown})
    return json.dumps({"places": pair, "layers": _overlap_json(overlaps)}, indent=2)


def _overlap_json(overlaps: Mapping[str, Overlap]) -> dict[str, Any]:
    """Returns what `tickets.compare` found as JSON has it."""
    return {
        name: found._asdict() | {"deviations": found.deviations, "jaccard": found.jaccard}
        for name, found in overlaps.items()
    }


def _overlap_table(overlaps: Mapping[str, Overlap]) -> str:
    """Returns what `tickets.compare` found as a table of text."""
    from supermask_jax.analysis.tables import Table

    head = ("layer", "kept", "both", "by chance", "deviations", "Jaccard", "same sign")
    rows = [
        (
            name,
            " / ".join(f"{k:,}" for k in found.kept),
            f"{found.both:,}",
            f"{found.expected:,.1f} +- {found.std:.1f}",
            f"{found.deviations:+.1f}",
            f"{found.jaccard:.3f}",
            f"{found.same_sign / max(found.both, 1):.1%}",
        )
        for name, found in overlaps.items()
    ]
    return Table(head, rows).text()
