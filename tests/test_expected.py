"""How long rows take on this machine, told before they run."""

import logging

import pytest
from helpers import ROOT, tiny_config
from test_reproduce import ROWS

from supermask_jax import experiment
from supermask_jax.studies import expected, reproduce


@pytest.fixture
def told(monkeypatch, caplog):
    """Lines of the log; steps take a second and are measured at once."""
    asked = []
    monkeypatch.setattr(expected, "seconds_of_step", lambda _, shape: asked.append(shape) or 1.0)
    logger = logging.getLogger("supermask_jax")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "disabled", False)
    caplog.set_level(logging.INFO, logger="supermask_jax")
    return lambda: (asked, [record.getMessage() for record in caplog.records])


def test_a_network_is_measured_once_and_every_run_counts_its_steps_and_seeds(told, tmp_path):
    configs = {
        tmp_path / "a" / "s0": tiny_config(),
        tmp_path / "a" / "s1": tiny_config(seed=1),
        tmp_path / "b" / "s0-2": tiny_config(epochs=6, num_seeds=3),
        tmp_path / "c" / "s0": tiny_config(**{"batch_size": 64}),
    }
    found = expected.expected_seconds(configs)
    steps = 3 * 11  # 1,293 images of digits in batches of 128, three epochs.
    assert list(found.values()) == [steps, steps, 2 * 3 * steps, 3 * 21]
    asked, lines = told()
    assert asked == [(8, 8, 1), (8, 8, 1)]
    assert "  a                        2 x 33 s" in lines
    assert lines[-1] == "expected on this machine: 5.5 min in all"


def test_runs_that_are_not_finished_are_told_of_with_their_end(told, tmp_path, monkeypatch):
    monkeypatch.setattr("supermask_jax.experiment.run", lambda *_, **__: None)
    monkeypatch.setattr(reproduce, "collect", lambda *_: {})
    monkeypatch.setattr(reproduce, "_write", lambda row, *_: {"row": row.name})
    (tmp_path / "runs" / ROWS[0].name / "s0").mkdir(parents=True)
    (tmp_path / "runs" / ROWS[0].name / "s0" / "summary.json").write_text("{}")
    reproduce.reproduce(
        ROWS[:1], [0, 1], root=ROOT, runs=tmp_path / "runs", results=tmp_path, estimate=True
    )
    _, lines = told()
    assert any(
        line.startswith(f"run 2 of 2, row {ROWS[0].name}, s1: 1 left, the last one ends")
        for line in lines
    )


def test_a_step_is_measured():
    trainer = experiment.build(tiny_config())
    assert 0 < expected.seconds_of_step(trainer, (8, 8, 1), steps=2) < 60
