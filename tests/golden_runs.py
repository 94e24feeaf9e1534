"""Golden runs: digests of what training gives, compared before and after a change of the code.

  python tests/golden_runs.py write FILE
  python tests/golden_runs.py check FILE

Every method, sets of seeds, a resume at several stops, 1, 2 and 8 virtual devices, rounds of
pruning, microbatches, batch norm and bfloat16: small networks on the embedded digits, each on one
thread. The digests are of the final scores (or weights), of the masks and of the metrics; they
depend on the processor and on JAX's version, so a file is good only where it was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("signed_topk", "bernoulli", "edge_popup", "biprop", "multicoat", "dense")


def flags(entries: str) -> tuple[str, ...]:
    """Returns the flags of ``key=value`` words."""
    return tuple(f"--config.{entry}" for entry in entries.split())


SMALL = flags(
    "epochs=2 data.name=digits model.width=0.1 data.augment=none data.preprocess=standardize"
)
QUICK = ("quickstart", *flags("epochs=3 model.width=0.1"))
CONV = ("conv2:published", *SMALL, *flags("epochs=1 data.subset=512"))
NORM = flags("epochs=1 data.subset=256 batch_size=64 model.norm=all model.norm_affine=True")
RESNET = ("resnet20:published", *SMALL, *NORM)
PAIR = (*QUICK, *flags("num_seeds=2 seeds_per_program=2"))

# {name: (devices, config, *flags)}
CASES: dict[str, tuple[Any, ...]] = {
    "signed": (1, *QUICK),
    "signed-3-seeds": (1, *QUICK, *flags("num_seeds=3")),
    "signed-2-devices": (2, *QUICK, *flags("mesh.data=2")),
    "signed-8-devices": (8, *QUICK, *flags("mesh.data=8")),
    "signed-2x2-devices": (8, *QUICK, *flags("num_seeds=2 mesh.seed=2 mesh.data=2")),
    "signed-unrolled": (1, *PAIR, *flags("seed_loop=unroll")),
    "signed-vmap": (1, *PAIR, *flags("seed_loop=vmap")),
    "signed-density": (1, *QUICK, *flags("method.density=0.05")),
    "signed-paper": (1, *QUICK, *flags("protocol=paper")),
    "microbatches": (1, *QUICK, *flags("microbatches=4")),
    "bfloat16": (1, *QUICK, *flags("compute_dtype=bfloat16")),
    "conv": (1, *CONV),
    "conv-products": (1, *CONV, *flags("convolution=products")),
    "conv-microbatches": (1, *CONV, *flags("microbatches=2")),
    "norm": (1, *RESNET),
    "norm-microbatches": (1, *RESNET, *flags("microbatches=2")),
    **{name: (1, f"{name}:fcn", *SMALL) for name in METHODS},
    "bernoulli-3-seeds": (1, "bernoulli:fcn", *SMALL, *flags("num_seeds=3")),
    **{f"stopped-{calls}": (1, *QUICK) for calls in (1, 2)},
}
GRID = "lottery.rewind_steps=5 lottery.criterion=large_final,random lottery.mask1=rewind,reinit"
LOTTERY = ("lottery_fcn", *SMALL, *flags(f"epochs=2 lottery.levels=3 {GRID}"))


def _environment(devices: int) -> dict[str, str]:
    return os.environ | {
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }


def _hash(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()[:16]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _metrics(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if "seconds" not in name}


def _scores(folder: Path) -> dict[str, str]:
    """Digests of what is trained in the newest checkpoint of each program, seed axis or not."""
    import orbax.checkpoint as ocp

    found = {}
    for steps in sorted(folder.rglob("steps")):
        newest = max((p for p in steps.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
        with ocp.StandardCheckpointer() as checkpointer:
            state = checkpointer.restore(newest.resolve() / "state")
        import jax

        leaves = jax.tree.leaves_with_path(state["trainable"])
        for path, leaf in leaves:
            name = f"{steps.parent.relative_to(folder)}{jax.tree_util.keystr(path)}"
            found[name] = _hash(np.asarray(leaf))
    return found


def digests(folder: Path) -> dict[str, Any]:
    """Digests of a finished work folder."""
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, Any] = {"metrics": [_hash(_metrics(line)) for line in lines]}
    for path in sorted(folder.glob("masks*.npz")):
        with np.load(path) as arrays:
            found[path.name] = {name: _hash(arrays[name]) for name in sorted(arrays.files)}
    return found | {"trained": _scores(folder)}


def _stop(process: subprocess.Popen[str], folder: Path, epochs: int) -> None:
    """Sends SIGTERM after so many epochs, and waits."""
    assert process.stdout is not None
    for _ in range(epochs):
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate()


def _run(name: str, folder: Path) -> dict[str, Any]:
    devices, config, *flags = CASES[name]
    command = [sys.executable, str(ROOT / "experiments" / "main.py"), f"--config={config}"]
    command += ["--plain", f"--workdir={folder}", *flags]
    options = {"env": _environment(devices), "stdout": subprocess.PIPE, "text": True}
    if name.startswith("stopped-"):
        _stop(subprocess.Popen(command, **options), folder, int(name.partition("-")[2]))
    subprocess.run(command, check=True, **options)
    return digests(folder)


def _run_lottery(folder: Path) -> dict[str, Any]:
    config, *flags = LOTTERY
    command = [sys.executable, str(ROOT / "experiments" / "lottery.py"), f"--config={config}"]
    command += [f"--workdir={folder}", *flags]
    subprocess.run(command, check=True, env=_environment(1), stdout=subprocess.PIPE)
    return {
        str(path.parent.relative_to(folder)): digests(path.parent)
        for path in sorted(folder.rglob("metrics.jsonl"))
    }


def all_digests() -> dict[str, Any]:
    """Runs every case in a folder of its own that is thrown away."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            found[name] = _run(name, Path(folder) / name)
            print(f"{name}: {_hash(found[name])}", flush=True)
        found["lottery"] = _run_lottery(Path(folder) / "lottery")
        print(f"lottery: {_hash(found['lottery'])}", flush=True)
    return found


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [x for k in keys for x in _differences(old.get(k), new.get(k), f"{path}/{k}")]
    return [] if old == new else [path]


def main(argv: list[str]) -> int:
    what, file = argv
    os.environ["JAX_NUM_CPU_DEVICES"] = "8"  # To read what was saved on so many.
    found = all_digests()
    if what == "write":
        Path(file).write_text(json.dumps(found, indent=1) + "\n")
        return 0
    different = _differences(json.loads(Path(file).read_text()), found)
    print("\n".join(different) or f"all {len(found)} golden runs are equal")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
