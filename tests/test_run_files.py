"""What files of runs must hold, and how their reader names what is wrong."""

import json

import numpy as np
import pytest
from helpers import ROOT

from supermask_jax import run_files
from supermask_jax.errors import UserError
from supermask_jax.run_files import dump, parse, read
from supermask_jax.schemas import CONFIG, COUNT, LOTTERY, RESULT, SEARCH, SHARE, fault

SCHEMA = {"a": COUNT, "b?": [SHARE], "c": ({"d": str}, None), "e": {str: float}}
GOOD = {"a": 3, "c": None, "e": {"x": 1, "y": 2.5}, "more": []}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (GOOD, ""),
        (GOOD | {"b": [0, 1.0], "c": {"d": "e"}}, ""),
        (None, "it must be entries, and is null"),
        (GOOD | {"a": True}, "a must be a whole number from 0 on, and is true"),
        (GOOD | {"a": -1}, "a must be a whole number from 0 on, and is -1"),
        ({"c": None, "e": {}}, "it has no a"),
        (GOOD | {"b": [0.5, float("nan")]}, "b[1] must be a number from 0 to 1, and is NaN"),
        (GOOD | {"c": "d"}, "c must be null"),
        (GOOD | {"e": {"x": "1"}}, 'e.x must be a number, and is "1"'),
    ],
)
def test_a_fault_is_named_by_its_place(value, words):
    assert fault(value, SCHEMA).startswith(words) and bool(fault(value, SCHEMA)) == bool(words)


@pytest.mark.parametrize(
    "content",
    [b"", b"nul", b"\xef\xbb\xbf{}", "{'ä': 1}".encode("latin-1"), b"[" * 100_000, b"{}", b"1e999"],
)
def test_what_is_no_json_of_its_kind_is_one_line(content, tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"file.json is damaged \(.*\): delete it$") as error:
        read(path, SCHEMA, "delete it")
    assert "\n" not in str(error.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="cannot read .*file.json: Is a directory: delete it"):
        read(path, SCHEMA, "delete it")


def test_the_results_that_are_kept_fit():
    for path in sorted((ROOT / "results").glob("*.json")):
        found = json.loads(path.read_text())
        schema = RESULT if "row" in found else LOTTERY if "rows" in found else None
        schema = SEARCH if path.name.startswith("search-") else schema
        assert schema is None or fault(found, schema) == ""


def test_a_config_lacks_only_what_came_later():
    from supermask_jax.config.files import default_identity

    config = default_identity()
    assert fault(config, CONFIG) == ""
    assert fault(config | {"data": None}, CONFIG) == "data must be entries, and is null"
    assert fault({k: v for k, v in config.items() if k != "seed"}, CONFIG) == "it has no seed"


def test_masks_are_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "masks.npz"
    np.savez_compressed(path, a=np.ones((40, 3), np.int8), b=np.arange(90, dtype=np.int8))
    whole = path.read_bytes()
    assert set(run_files.read_masks(path)) == {"a", "b"}
    rng = np.random.default_rng(0)
    for number in range(90):
        content = bytearray(whole)
        if number < 60:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        else:
            del content[rng.integers(len(content)) :]
        path.write_bytes(content)
        try:
            found = run_files.read_masks(path)
        except UserError as error:
            assert "masks.npz is damaged" in str(error) and "\n" not in str(error)
        else:  # What a flip changes beside the arrays, such as a date.
            assert np.array_equal(found.get("b", np.arange(90)), np.arange(90))
            assert all(mask.dtype == np.int8 for mask in found.values())
    np.savez(path, a=np.ones(3))
    with pytest.raises(UserError, match="it holds no masks: they are int8"):
        run_files.read_masks(path)


def test_epochs_that_are_missing_are_named(tmp_path):
    path, lines = tmp_path / "metrics.jsonl", [{"epoch": epoch} for epoch in (1, 2, 3)]
    run_files.check_lines(path, lines, 3)
    run_files.check_lines(path, lines[1:], None, first=None)
    for bad, last in ((lines[1:], 3), (lines[:2], 3), (lines[::2], 3), (lines, 2), ([], 1)):
        with pytest.raises(UserError, match=r"metrics.jsonl is damaged \(epochs are missing\)"):
            run_files.check_lines(path, bad, last)


@pytest.mark.parametrize(
    "change", [lambda x: x.update(b={"c": [1, 2]}), lambda x: x.pop("b"), lambda x: x.update(d=0)]
)
def test_an_entry_changed_or_lost_since_it_was_written_is_told(change):
    entries = {"a": 0.1, 3: None, "b": {"c": (1, 3), "nan": float("nan")}}
    content = dump(entries)
    read_back = parse(content, dict)
    assert read_back.keys() == {"a", "3", "b"} and read_back["b"]["c"] == [1, 3]
    changed = json.loads(content)
    change(changed)
    with pytest.raises(ValueError, match="an entry was changed or lost since it was written"):
        parse(json.dumps(changed).encode(), dict)
    # Files of before have no sum; lists have none.
    del changed["sha256"]
    assert parse(json.dumps(changed).encode(), dict).keys() == changed.keys()
    assert parse(dump([1, 2]), [int]) == [1, 2]
