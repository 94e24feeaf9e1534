"""The benchmark measures what it says and pages read, and refuses bad input in one line."""

import json
import platform
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import benchmark
import loader
import numpy as np
import peer
import pytest
from helpers import ROOT, single_threaded
from timing import Cost, Process, Steps, ratios, step_seconds, synthetic_data

from supermask_jax.data import DATASETS
from supermask_jax.errors import UserError
from supermask_jax.models import MODELS

CONFIG = """\
from helpers import tiny_config


def get_config():
    return tiny_config(**{entries})
"""


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Runs the command on a tiny config with some entries; returns what it wrote."""
    for name, value in single_threaded().items():
        monkeypatch.setenv(name, value)

    def run(*argv, **entries):
        file, out = tmp_path / "tiny.py", tmp_path / "results" / "benchmark-tiny.json"
        file.write_text(CONFIG.replace("{entries}", repr(entries)))
        argv = [f"--config={file}", f"--out={out}", "--repeats=1", *argv]
        benchmark.main(argv)
        result = json.loads(out.read_text())
        assert result["command"] == f"python experiments/benchmark.py {shlex.join(argv)}"
        assert result["env"]["backend"] and len(result["load_average"]) == 2
        model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        assert result["processor"].startswith(model[1] if model else platform.machine())
        return result["models"]["tiny"]

    return run


def page_of(tmp_path, maker, name=None):
    """What a page makes of the result files in a folder."""
    pytest.importorskip("mkdocs")
    made = runpy.run_path(str(ROOT / "docs" / "hooks" / "timings.py"))[maker]
    made.__globals__["ROOT"] = tmp_path
    return made(name)


def test_steps(measure, capsys, tmp_path):
    steps = measure("--only=steps", "--steps=2")["steps"]
    assert (steps["chunk_steps"], steps["pairs"]) == (2, 1)
    seconds = [steps[side]["step_wall_seconds"] for side in ("masked", "dense")]
    assert steps["ratio"]["wall"] == pytest.approx(seconds[0] / seconds[1])
    shown = f"ratio {steps['ratio']['wall']:.2f}"
    assert f"tiny: step {1e3 * seconds[0]:,.2f} ms" in (out := capsys.readouterr().out)
    assert shown in out
    assert f"| {1e3 * seconds[1]:,.2f} ms |" in page_of(tmp_path, "steps")


def test_the_loader_beside_its_peers_and_what_waits_for_it(tmp_path, monkeypatch, capsys):
    for name, value in {"_FILES": 120, "_PAUSES": 1, "_MODEL": "conv2", "_STEPS": 2}.items():
        monkeypatch.setattr(loader, name, value)
    monkeypatch.setattr(loader, "PEERS", ())
    out = tmp_path / "results" / "benchmark-loader.json"
    benchmark.main(["--loader", "--repeats=1", f"--out={out}"])
    result = json.loads(out.read_text())
    found = result["loader"]
    assert result["models"] == {} and list(found["sides"]) == ["ours"]
    side = found["sides"]["ours"]
    assert 1 < side["images_per_second"] < 5e3 and 0.1 < side["cpu_ms_per_image"] < 1e3
    assert [case["taken"] for case in found["waiting"]] == [0.5, 0.8, 0.9]
    assert all(0 <= case["waiting_share"] < 1 for case in found["waiting"])
    assert 0 <= found["training"]["waiting_share"] < 1 < found["training"]["batch_size"]
    said = f"ours: {side['images_per_second']:,.0f} images a second"
    assert said in capsys.readouterr().out
    (line,) = [x for x in page_of(tmp_path, "loader").splitlines() if "supermask-jax" in x]
    assert f"| {side['images_per_second']:,.0f} |" in line


def test_cpu_time_is_that_of_processes_it_has_started_too():
    before = loader.cpu_seconds()
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    with Process("burning", [sys.executable, "-c", burn]) as process:
        process.line()
        assert 0.4 < loader.cpu_seconds() - before < 5


def test_starts_and_memory_are_those_of_fresh_processes(measure, capsys, tmp_path):
    found = measure("--only=start,memory", batch_size=8)
    start, cases = found["start"], found["memory"]
    assert min(start["first_step_seconds"], start["first_step_cached_seconds"]) > 0.1
    sizes = [(case["batch_size"], case["microbatches"]) for case in cases]
    assert sizes == [(8, 1), (32, 1), (32, 4)]
    small, large, _ = (case["step_bytes"]["peak"] for case in cases)
    assert 0 < small < large
    assert all(case["process_peak_bytes"] > 2**20 for case in cases)
    assert all(0 < case["step_wall_seconds"] < 10 for case in cases)
    assert "tiny: batch of 32 in 4: " in capsys.readouterr().out
    assert page_of(tmp_path, "memory", "benchmark-tiny").count("\n") == 4
    assert page_of(tmp_path, "starts", "benchmark-tiny").count("\n") == 2


def test_medians_and_ratios():
    pairs = [{"a": Cost(2, 4), "b": Cost(1, 8)}, {"a": Cost(6, 9), "b": Cost(2, 3)}]
    pairs.append({"a": Cost(4, 4), "b": Cost(2, 4)})
    assert step_seconds(pairs, "a", 2) == {"step_wall_seconds": 2, "step_cpu_seconds": 2}
    found = ratios(pairs, "a", "b")
    assert (found["wall"], found["wall_range"]) == (2, [2, 3])
    assert (found["cpu"], found["cpu_range"]) == (1, [0.5, 3])


def test_steps_go_on_in_the_next_epoch(monkeypatch):
    dispatches = []

    def run(state, frozen, examples, order, index, count):
        dispatches.append((index, count))
        return state, None

    job = SimpleNamespace(
        plan=SimpleNamespace(steps_per_epoch=11, steps_per_call=11),
        start=lambda: (0, 0),
        order=lambda: lambda epoch: 0,
    )
    monkeypatch.setattr("timing.make_train_steps", lambda job: run)
    steps = Steps(job, None)
    for count in (1, 11, 3):
        steps.run(count)
    assert dispatches == [(0, 1), (1, 10), (0, 1), (1, 3)]


def test_synthetic_data_has_the_real_sizes():
    data, spec = synthetic_data("digits"), DATASETS["digits"]
    assert data.train.images.shape == (spec.train_size, *spec.image_shape)
    assert (data.train.images.dtype, data.train.labels.dtype) == ("uint8", "int32")
    assert data.test.labels.max() == spec.num_classes - 1
    assert len(synthetic_data("digits", 8).test.labels) == 8


def test_a_failing_process_is_one_line():
    with pytest.raises(UserError, match="the X process of the benchmark failed: KeyError: 1"):
        Process("X", [sys.executable, "-c", "{}[1]"]).line()


BAD = {
    "unknown model 'fcm': did you mean 'fcn'": ["--models=fcm"],
    "unknown part 'step': did you mean 'steps'": ["--only=step"],
    "--only name a part": ["--only=,"],
    "--steps at least 0": ["--steps=-1"],
    "there is no config file absent.py": ["--config=absent.py"],
    "there is no mask to measure": [f"--config={ROOT}/configs/fcn.py:baseline"],
    "cannot make folder": [f"--out={__file__}/benchmark.json"],
    "pip install torch": ["--peer=torch"],
    "has no counterpart": ["--peer=torch", f"--peer_python={sys.executable}", "--models=resnet20"],
    "cannot start no-such-python": ["--peer=torch", "--peer_python=no-such-python"],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_line(message, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        benchmark.main(BAD[message])
    assert message in f"{stop.value}{capsys.readouterr().err}"


def test_every_model_can_be_measured():
    assert {benchmark.model_config(name).method.name for name in MODELS} == {"signed"}


def test_unequal_gradients_are_refused(tmp_path):
    right = {"loss": np.float32(2), "dense1": np.ones((2, 2), np.float32)}
    np.savez(tmp_path / "jax.npz", **right)
    np.savez(tmp_path / "torch.npz", **right)
    same = {"loss_difference": 0, "gradient_difference": 0}
    assert peer.find_difference(tmp_path, 1e-6) == same
    for wrong in (right["dense1"] * 1.01, right["dense1"] * np.nan):
        np.savez(tmp_path / "torch.npz", **right | {"dense1": wrong})
        with pytest.raises(UserError, match="dense1"):
            peer.find_difference(tmp_path, 1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_sides_compute_the_same(dtype, measure, tmp_path):
    pytest.importorskip("torch")
    sizes = {"model.name": "conv2", "model.width": 0.5, "data.name": "cifar10", "batch_size": 8}
    found = measure("--peer=torch", "--steps=1", compute_dtype=dtype, **sizes)["peer"]
    assert found["gradient_difference"] <= peer.TOLERANCES[dtype]
    assert 0 < found["ratio_wall_range"][0] <= found["ratio_wall"]
    # The one that is timed takes from the cache what the first has compiled.
    assert found["ours"]["process_peak_bytes"] < found["compile_process_peak_bytes"]
    (tmp_path / "results" / "benchmark-tiny.json").rename(tmp_path / "results" / "peer-tiny.json")
    assert "`tiny`" in page_of(tmp_path, "peer")
