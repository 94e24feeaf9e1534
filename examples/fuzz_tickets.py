"""Lets coverage guide the damage to tickets: `python fuzz_tickets.py -atheris_runs=100000`.

Needs `pip install 'supermask-jax[fuzz]'`. It starts from the tickets of the repository; what breaks
the reader, or takes it more than half a gigabyte, is left in a file, as libFuzzer does it.
`tests/test_ticket_fuzz.py` damages tickets knowing their format.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["supermask_jax"]):
    from supermask_jax.errors import UserError
    from supermask_jax.tickets.file import decode_ticket
    from supermask_jax.tickets.ticket import digest

TICKETS = Path(__file__).resolve().parent.parent / "tickets"


def read(content: bytes) -> None:
    try:
        digest(decode_ticket(content))
    except UserError as error:
        assert "\n" not in str(error)


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:  # libFuzzer adds what it finds.
        for path in TICKETS.glob("*.safetensors"):
            if path.stat().st_size < 20_000:
                shutil.copy(path, corpus)
        atheris.Setup([*sys.argv, "-rss_limit_mb=512", "-max_len=20000", corpus], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
