"""Means with intervals, and mask sizes."""

import math

import numpy as np
import pytest
from scipy import stats

from supermask_jax.analysis.intervals import entropy_bits, mask_bytes, mean_interval, percent


def test_interval_equals_scipy():
    values = [0.9, 0.95, 0.91, 0.93]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    found = mean_interval(values)
    np.testing.assert_allclose(found, [np.mean(values), low, high, 4])
    assert percent(found) == f"{100 * np.mean(values):.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def test_interval_of_one_and_of_none():
    found = mean_interval([0.5])
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert percent(found) == "50.00"
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def test_entropy_worked_by_hand():
    assert entropy_bits([4, 4]) == 8
    assert entropy_bits([8, 0]) == 0
    assert entropy_bits([2, 1, 1]) == 4 * 1.5
    layer = np.array([1, 1, -1, -1, 0, 0, 0, 0], np.int8)
    assert mask_bytes({"a": layer, "b": layer}) == 3  # 2 x 12 bits
    assert mask_bytes({"coats": np.array([0, 1, 2, 3], np.int8)}) == 1
