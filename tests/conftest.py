"""Strict settings for every test, made before JAX starts."""

import atexit
import gc
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from types import SimpleNamespace

# Eight virtual devices, as a test of sharding needs; one thread pool for all, so no slower.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

# Most of a test's time is compilation, and the tests compile the same programs over and over: one
# cache for all tests of this session, for its workers and for the commands that they start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="supermask_jax_tests_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Of hundreds of tiny programs, faster compilation beats faster code; also in child processes.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# The older emitters of jaxlib 0.10 compile the tests' programs in a quarter of the time; a jaxlib
# without this flag would not start.
if version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false "
        "--xla_cpu_parallel_codegen_split_count=1"
    )

import logging  # noqa: E402

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

from supermask_jax.training import waiting  # noqa: E402

# A busy machine is slow, and tests count lines.
waiting._LOG_S = 600.0

jax.config.update("jax_numpy_rank_promotion", "raise")
# Compilation makes the first example slow; a deadline would call that flaky.
hypothesis.settings.register_profile("supermask", deadline=None, derandomize=True)
hypothesis.settings.load_profile("supermask")


@pytest.fixture(autouse=True, scope="module")
def quick_collections():
    """Takes what is there out of the collector's sight: every command ends with a collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def plain_logger():
    """Gives each test the package's logger as it comes, whatever a command before it has set."""
    logger = logging.getLogger("supermask_jax")
    logger.propagate, logger.disabled = True, False
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Stands in for huggingface_hub; returns the folder of its repositories."""

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repo, *, private, exist_ok):
            if repo.count("/") != 1:
                raise ValueError(f"Repo id must be OWNER/NAME:\n{repo}")
            (tmp_path / repo).mkdir(parents=True, exist_ok=exist_ok)
            (tmp_path / repo / "private").write_text(str(private))

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            assert commit_message
            shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)

    def hf_hub_download(repo, filename, *, revision):
        path = tmp_path / (f"{repo}@{revision}" if revision else repo) / filename
        if not path.exists():
            raise OSError(f"404: {repo} has no {filename}")
        return str(path)

    library = SimpleNamespace(HfApi=Api, hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    return tmp_path
