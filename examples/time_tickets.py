"""Times tickets beside their dense networks: `python time_tickets.py ../tickets/*.safetensors`.

Writes `results/latency-NAME.json` for each; "Why is my model not faster?" reads them. One thread,
ways interleaved, medians; run it on a machine that does nothing else.
"""

import argparse
import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def time_ticket(path: Path, out: Path, rounds: int, seconds: float = 0.02) -> dict:
    from supermask_jax.tickets import load_ticket
    from supermask_jax.tickets.latency import measure

    ticket = load_ticket(path)
    timings = measure(ticket, rounds=rounds, seconds=seconds)
    result = {
        "ticket": path.stem,
        "command": f"python examples/time_tickets.py tickets/{path.name} --rounds={rounds}",
        "density": ticket.density,
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "timings": [timing._asdict() for timing in timings],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"latency-{path.stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tickets", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    args = parser.parse_args()
    # Before JAX starts, which reads it once: one thread, as NumPy gets.
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    for path in args.tickets:
        for timing in time_ticket(path, args.out, args.rounds)["timings"]:
            print(path.stem, timing)


if __name__ == "__main__":
    main()
