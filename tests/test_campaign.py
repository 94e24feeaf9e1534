"""A small sample of `campaign`: interrupted operations and damaged files of tiny runs."""

import gc

import campaign
import pytest
from damages import WAYS
from interruptions import compiled_once

pytestmark = [
    # What a run that is killed leaves to the garbage collector complains.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(autouse=True)
def shared():
    with compiled_once():
        yield
    gc.unfreeze()
    gc.collect()


def test_interrupted_runs_end_as_if_they_never_had_been(tmp_path):
    found = list(campaign.interruptions(tmp_path, 6))
    assert [what for what, wrong in found if wrong and not wrong.startswith("leaves")] == []


def test_damaged_files_are_named_or_do_not_matter(tmp_path):
    found = dict(campaign.damaged(tmp_path, 24))
    assert [what for what, wrong in found.items() if wrong] == []
    assert len(found) == 24 and len(WAYS) == 10
