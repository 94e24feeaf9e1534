"""The benchmark measures what it says, on a tiny network, and refuses bad input in one line."""

import json
import shlex

import jax
import pytest
from helpers import ROOT, tiny_config

from supermask_jax import benchmark
from supermask_jax.benchmark import fresh, memory, seeds, start, steps, suite
from supermask_jax.benchmark.epoch import _job_and_data, _overhead
from supermask_jax.benchmark.steps import dense_twin
from supermask_jax.benchmark.table import table
from supermask_jax.benchmark.timing import Cost, Steps, synthetic_data
from supermask_jax.commands import benchmark as cli
from supermask_jax.config import dense
from supermask_jax.data import DATASETS
from supermask_jax.errors import UserError
from supermask_jax.experiment import build
from supermask_jax.models import MODELS

QUICK = benchmark.Options(parts=("steps", "epoch"), repeats=1, chunk_steps=2, epochs=2)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    old = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", old)


@pytest.fixture(scope="module")
def result():
    return benchmark.run({"tiny": tiny_config(**{"data.shuffle": False})}, QUICK)


def numbers(figures):
    """All numbers below a node that must be positive: costs, sizes and ratios."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from numbers(value)
        elif isinstance(value, list):
            yield from ((name, item) for item in value)
        elif not isinstance(value, str | None):
            yield name, value


def test_steps(result):
    steps = result["models"]["tiny"]["steps"]
    assert (steps["chunk_steps"], steps["pairs"]) == (2, 1)
    # A first call on a busy machine may take no longer than the next: the one figure that may be 0.
    wrong = [f for f in numbers(steps) if f[1] < 0 or (f[1] == 0 and f[0] != "compile_seconds")]
    assert not wrong
    assert steps["device_peak_bytes"] is None or steps["device_peak_bytes"] > 0
    masked, twin = steps["masked"], steps["dense"]
    assert steps["ratio"]["wall"] == masked["step_wall_seconds"] / twin["step_wall_seconds"]
    assert masked["images_per_second"] == pytest.approx(128 / masked["step_wall_seconds"])
    # The frozen weights are arguments of a masked step alone.
    assert masked["step_bytes"]["arguments"] > twin["step_bytes"]["arguments"]


def test_epoch(result):
    epoch = result["models"]["tiny"]["epoch"]
    assert epoch["epochs"] == 2
    assert epoch["steps_per_epoch"] == build(tiny_config()).plan.steps_per_epoch
    # Overhead is a difference and may fall below 0 on a busy machine; nothing else may.
    assert not [f for f in numbers(epoch) if "overhead" not in f[0] and f[1] <= 0]


def test_overhead_is_what_the_neighbours_do_not_explain():
    alone = [(Cost(2, 4), Cost(1, 1)), (Cost(4, 6), Cost(1, 1)), (Cost(2, 4), Cost(3, 1))]
    found = _overhead([Cost(5, 8), Cost(6, 8)], alone, shortened=2)
    assert (found["steps_wall_seconds"], found["steps_cpu_seconds"]) == (3, 5)
    assert (found["evaluation_wall_seconds"], found["overhead_wall_seconds"]) == (1.5, 1)
    assert (found["overhead_wall_fraction"], found["overhead_cpu_fraction"]) == (1 / 6, 2 / 10)


def test_only_convolutions_on_cpu_get_a_short_epoch():
    sizes = {"batch_size": 32, "eval_batch_size": 50}
    short, splits = _job_and_data(tiny_config(**sizes, **{"model.name": "conv2"}))
    assert (short.plan.steps_per_epoch, len(splits.val.labels), len(splits.test.labels)) == (
        (16, 100, 100) if jax.default_backend() == "cpu" else (41, 143, 360)
    )
    whole, splits = _job_and_data(tiny_config(**sizes))
    assert whole.plan.steps_per_epoch == 41
    assert short.plan.num_train == whole.plan.num_train == len(splits.train.labels)


def test_start_times_fresh_processes(monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    imports = start.measure_imports(repeats=1)
    assert imports["jax"] > 0 and imports["supermask_jax.experiment"] > 0
    figures = start.measure_start(tiny_config(), repeats=1)
    assert figures["first_step_seconds"] > figures["first_step_cached_seconds"] > imports["jax"]
    assert figures["data_loading_seconds"] > 0


def test_no_cache_is_no_loading_time(tmp_path):
    config = benchmark.model_config("fcn")
    config.data.cache_dir = str(tmp_path)
    assert start._loading(config, repeats=1) is None
    assert not list(tmp_path.iterdir())


def test_memory_of_microbatches(monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    cases = memory.measure_memory(tiny_config(batch_size=8))
    sizes = [(case["batch_size"], case["microbatches"]) for case in cases]
    assert sizes == [(8, 1), (32, 1), (32, 4)]
    small, large, _ = (case["step_bytes"]["peak"] for case in cases)
    assert 0 < small < large
    assert all(case["process_peak_bytes"] > 2**20 for case in cases)
    assert all(0 < case["step_wall_seconds"] < 10 for case in cases)
    text = benchmark.table(
        {
            "env": {"backend": "", "device": "", "cpu_count": 1, "versions": {"jax": ""}},
            "load_average": [0, 0],
            "models": {"tiny": {"data": "digits", "batch_size": 8, "memory": cases}},
        }
    )
    assert "32 in 4" in text


def test_a_failing_child_is_one_line():
    with pytest.raises(UserError, match="ended with status 1: KeyError: 'x'"):
        fresh.in_fresh_process("{}['x']")


def test_steps_go_on_in_the_next_epoch(monkeypatch):
    dispatches = []

    def run(state, frozen, examples, order, index, count):
        dispatches.append((index, count))
        return state, None

    monkeypatch.setattr("supermask_jax.benchmark.timing.make_train_steps", lambda job: run)
    job = build(tiny_config(**{"data.shuffle": False}))
    steps = Steps(job, None)
    for count in (1, job.plan.steps_per_epoch, 3):
        steps.run(count)
    assert job.plan.steps_per_epoch == 11
    assert dispatches == [(0, 1), (1, 10), (0, 1), (1, 3)]


def test_seeds_together_are_timed_against_one(monkeypatch):
    steps = {"one": 0.01, "many": 0.03}
    clock = iter([steps["one"], steps["many"]] * 3)
    monkeypatch.setattr(seeds, "timed", lambda action: action() or Cost(*[next(clock)] * 2))
    found = seeds.measure_seeds(tiny_config(), num_seeds=6, repeats=3, chunk_steps=2)
    assert found["ratio"] == pytest.approx(0.03 / 6 / 0.01)
    assert found["one"]["seed_step_wall_seconds"] == pytest.approx(0.01 / 2)
    assert found["many"]["seed_step_cpu_seconds"] == pytest.approx(0.03 / 2 / 6)
    environment = {"backend": "cpu", "device": "cpu", "cpu_count": 2, "versions": {"jax": "0"}}
    model = {"data": "digits", "batch_size": 128, "seeds": found}
    whole = {"env": environment, "load_average": [0, 0], "models": {"tiny": model}}
    assert "0.50x (0.50 to 0.50)" in table(whole)


def test_the_share_of_the_peak_is_flops_over_time_and_peak(result, monkeypatch):
    assert result["models"]["tiny"]["steps"]["masked"]["share_of_peak"] is None  # Of this CPU.
    kind = jax.devices()[0].device_kind
    monkeypatch.setitem(steps._PEAKS, kind, {"float32": 1e9})
    masked = steps.measure_steps(tiny_config(), repeats=1, chunk_steps=2)["masked"]
    expected = masked["step_flops"] / masked["step_wall_seconds"] / 1e9
    assert masked["share_of_peak"] == pytest.approx(expected)
    assert masked["step_flops"] > 6 * 128 * 1500  # Three products with each weight and image.


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_synthetic_data_has_the_real_sizes(name):
    data, spec = synthetic_data(name), DATASETS[name]
    assert data.train.images.shape == (spec.train_size, *spec.image_shape)
    assert (data.train.images.dtype, data.train.labels.dtype) == ("uint8", "int32")
    assert len(data.test.labels) == spec.test_size
    assert data.test.labels.max() == spec.num_classes - 1


def test_every_model_has_a_config_and_a_twin():
    for name in MODELS:
        config = benchmark.model_config(name)
        assert config.method.name == "signed"
        twin = dense_twin(config)
        assert twin.method.to_dict() == {"name": "dense"}
        assert twin.weight_init == config.weight_init and twin.optimizer == config.optimizer


def test_the_table_has_a_line_for_every_figure(result):
    figures = {"first_step_seconds": 4.0, "data_loading_seconds": None}
    figures["first_step_cached_seconds"] = 2.25
    names = ("jax", "supermask_jax", "supermask_jax_over_jax")
    full = result | {"imports": dict.fromkeys(names, 0.5)}
    full["models"] = {"tiny": result["models"]["tiny"] | {"start": figures}}
    text = benchmark.table(full)
    for words in (
        "step, wall",
        "masked / dense",
        "overhead",
        "not cached",
        "4.00 s",
        "2.25 s",
        "0.50 s",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_command_line_writes_json(tmp_path, monkeypatch, capsys, result):
    calls = []
    monkeypatch.setattr(cli, "run", lambda *args: calls.append(args) or result)
    out = tmp_path / "new" / "benchmark.json"
    argv = ["--models=fcn,conv2", "--only=epoch,steps", "--repeats=3", "--batch_size=64"]
    config = f"--config={ROOT / 'configs' / 'fcn.py'}:released"
    assert cli.main([*argv, config, f"--out={out}"]) == 0
    configs, options, _ = calls[0]
    assert list(configs) == ["fcn", "conv2", "fcn-released"]
    assert {config.batch_size for config in configs.values()} == {64}
    assert options == benchmark.Options(("epoch", "steps"), repeats=3)
    assert capsys.readouterr().out == benchmark.table(result) + "\n"
    written = json.loads(out.read_text())
    command = shlex.join([*argv, config, f"--out={out}"])
    assert written.pop("command") == f"python experiments/benchmark.py {command}"
    assert written == result


BAD = {
    "unknown model 'fcm': did you mean 'fcn'": ["--models=fcm"],
    "unknown part 'step': did you mean 'steps'": ["--only=step"],
    "--models names no model": ["--models="],
    "no part to measure": ["--only=,"],
    "repeats must be at least 1, got 0": ["--repeats=0"],
    "chunk_steps must be at least 0": ["--steps=-1"],
    "epochs must be at least 1": ["--epochs=0"],
    "batch_size must be at least 1": ["--batch_size=0"],
    "invalid int value: 'x'": ["--repeats=x"],
    "unrecognized arguments: --model=fcn": ["--model=fcn"],
    "there is no config file absent.py": ["--config=absent.py"],
    "cannot make folder": [f"--out={__file__}/benchmark.json"],
    "give --out a file": ["--out=."],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_line(message, capsys, monkeypatch):
    monkeypatch.setattr(suite, "environment", lambda: pytest.fail("it went on to measure"))
    assert cli.main(BAD[message]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_a_dense_config_has_no_mask_to_measure():
    config = tiny_config()
    config.method = dense()
    with pytest.raises(UserError, match="no mask to measure"):
        benchmark.run({"tiny": config}, QUICK)
