"""Tables of pruning results, against numbers worked out by hand."""

import json

import numpy as np
import pytest

from supermask_jax.analysis.intervals import mean_interval, percent
from supermask_jax.analysis.results import mean_rows, write_result
from supermask_jax.lottery.table import compare_criteria, criteria_page, lottery_page

DENSITY = {0: 1.0, 1: 0.8, 2: 0.641}
ACCURACY = {  # criterion -> level -> test accuracy by seed
    None: {0: (0.98, 0.97, 0.975)},
    "random": {1: (0.95, 0.94, 0.955), 2: (0.90, 0.91, 0.92)},
    "large_final": {1: (0.97, 0.96, 0.975), 2: (0.96, 0.95, 0.955)},
    "movement": {1: (0.96, 0.96, 0.965), 2: (0.97, 0.94, 0.965)},
}


def rows(seed, *, trained=True, val=True, accuracy=ACCURACY):
    """The table of one seed; validation accuracies fall where test accuracies rise."""
    return [
        {
            "criterion": criterion,
            "mask1": criterion and "rewind",
            "mask0": criterion and "zero",
            "level": level,
            "density": DENSITY[level],
            "trained": trained or level == 0,
            **({"val_accuracy": 1.5 - seeds[seed]} if val else {}),
            "test_accuracy": seeds[seed],
        }
        for criterion, levels in accuracy.items()
        for level, seeds in levels.items()
    ]


def result(seeds=(0, 1, 2), **kwargs):
    return {"rows": mean_rows([rows(seed, **kwargs) for seed in seeds])}


def cells(page, start):
    """The entries of the one line of a page that begins with `start`."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return line.strip("| ").split(" | ")


def test_mean_rows_keep_the_values_of_each_seed():
    first = result()["rows"][1]
    assert first["by_seed"]["test_accuracy"] == [0.95, 0.94, 0.955]
    assert first["by_seed"]["val_accuracy"] == pytest.approx([0.55, 0.56, 0.545])
    assert "train_accuracy" not in first["by_seed"]
    assert first["test_accuracy"] == mean_interval([0.95, 0.94, 0.955])._asdict()
    assert first["criterion"] == "random" and first["density"] == pytest.approx(0.8)
    with pytest.raises(ValueError, match="zip"):
        mean_rows([rows(0), []])


def test_a_row_a_level_and_a_column_a_cell():
    page = lottery_page(result())
    names = ["random-rewind-zero", "large_final-rewind-zero", "movement-rewind-zero"]
    assert cells(page, "level") == ["level", "density %", *names, "n"]
    dense = percent(mean_interval(ACCURACY[None][0]))
    assert cells(page, "0") == ["0", "100.00", dense, dense, dense, "3"]
    shown = [percent(mean_interval(ACCURACY[name.split("-")[0]][2])) for name in names]
    assert cells(page, "2") == ["2", "64.10", *shown, "3"]
    assert shown[0] == "91.00 [88.52, 93.48]"
    assert len(page.splitlines()) == 5


def test_the_page_of_a_file_is_that_of_its_result(tmp_path):
    write_result(tmp_path / "a.json", result([1]))  # Intervals of one seed hold NaN.
    page = lottery_page(json.loads((tmp_path / "a.json").read_text()))
    assert page == lottery_page(result([1]))
    assert cells(page, "1") == ["1", "80.00", "94.00", "96.00", "96.00", "1"]


def test_a_cell_off_the_density_of_its_row_says_so_and_a_missing_level_is_a_dash():
    found = result()
    found["rows"][-1]["density"] = 0.5
    del found["rows"][1]  # Level 1 of random.
    page = lottery_page(found)
    assert cells(page, "1")[:3] == ["1", "80.00", "-"]
    assert cells(page, "2")[1] == "64.10"
    assert cells(page, "2")[4].endswith("] (at 50.00 %)")
    assert not cells(page, "2")[3].endswith("%)")


def test_level_0_alone_and_pruning_without_it():
    page = lottery_page(result(accuracy={None: ACCURACY[None]}))
    assert cells(page, "level") == ["level", "density %", "dense", "n"]
    assert cells(page, "0")[0] == "0"
    page = lottery_page(result(accuracy={"random": ACCURACY["random"]}))
    assert [line[:4] for line in page.splitlines()[2:]] == ["| 1 ", "| 2 "]
    with pytest.raises(ValueError, match="holds no rows"):
        lottery_page({"rows": []})


def test_of_untrained_masks_validation_chooses_the_level():
    page = lottery_page(result(trained=False))
    # The better test accuracy of random is at level 1, the better validation accuracy at level 2.
    shown = cells(page, "random-rewind-zero")
    assert shown[1:] == ["2", "64.10", "59.00 [56.52, 61.48]", "91.00 [88.52, 93.48]", "3"]
    assert "best level" not in lottery_page(result())


def test_without_validation_no_level_is_chosen():
    page = lottery_page(result(trained=False, val=False))
    assert page.endswith("there is nothing to choose a level by.")
    assert "91.00 [88.52, 93.48]" in page


def test_criteria_are_compared_by_rank_and_in_pairs():
    found = {row.criterion: row for row in compare_criteria(result())}
    assert list(found) == ["large_final", "movement", "random"]
    mean = {name: np.mean([ACCURACY[name][level] for level in (1, 2)], axis=0) for name in found}
    for name, row in found.items():
        np.testing.assert_allclose(row.accuracy, mean_interval(mean[name].tolist()))
        paired = (mean[name] - mean["large_final"]).tolist()
        np.testing.assert_allclose(row.difference, mean_interval(paired), atol=1e-12)
        assert (row.mask1, row.mask0, row.levels) == ("rewind", "zero", 2)
    # Seed 0: movement is second, then first; seed 1: tied for first, then second; seed 2: as 0.
    np.testing.assert_allclose(found["movement"].rank, mean_interval([1.5, 1.75, 1.5]))
    np.testing.assert_allclose(found["large_final"].rank, mean_interval([1.5, 1.25, 1.5]))
    np.testing.assert_allclose(found["random"].rank, mean_interval([3.0, 3.0, 3.0]))


def test_only_cells_of_one_action_and_of_the_reference_densities_are_compared():
    found = result()
    found["rows"][1]["density"] = 0.5
    for row in list(found["rows"][3:5]):
        found["rows"].append(row | {"mask0": "variant_1"})
    for row in list(found["rows"][5:7]):
        found["rows"].append(row | {"mask0": "reverse"})  # Without a reference.
    compared = compare_criteria(found)
    cells_compared = [(row.criterion, row.mask0) for row in compared]
    wanted = [("large_final", "zero"), ("movement", "zero"), ("large_final", "variant_1")]
    assert cells_compared == wanted
    assert [row.rank.mean for row in compared] == pytest.approx([4.25 / 3, 4.75 / 3, 1.0])


def test_the_page_of_a_comparison():
    page = criteria_page(result(), "movement")
    assert cells(page, "cell")[3] == "less movement, paired"
    shown = cells(page, "movement-rewind-zero")
    assert shown[1:4] == ["1.58 [1.22, 1.94]", "96.00 [93.85, 98.15]", "-"]
    assert cells(page, "large_final-rewind-zero")[3] == "0.17 [-0.55, 0.88]"
    assert cells(page, "random-rewind-zero")[4:] == ["2", "3"]


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="holds no criterion 'snip', only: random, large_final"):
        compare_criteria(result(), "snip")
    old = result()
    for row in old["rows"]:
        del row["by_seed"]
    assert "91.00" in lottery_page(old)
    with pytest.raises(ValueError, match="no values by seed: write it again with --out"):
        compare_criteria(old)
