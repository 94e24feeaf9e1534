"""The package as it is installed, without the checkout around it."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT, said_lines

from supermask_jax.config.files import identity, load_config, shipped_configs
from supermask_jax.errors import UserError


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what a wheel holds."""
    folder = tmp_path_factory.mktemp("installed")
    build = [f"--build-base={folder / 'build'}", f"--build-lib={folder / 'lib'}"]
    command = [sys.executable, "setup.py", "-q", "build", *build]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder / "lib"


def train(installed, cwd, *argv):
    return subprocess.run(
        [sys.executable, "-m", "supermask_jax", "train", *argv],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(installed)},
    )


def test_configs_come_along_by_name(installed, tmp_path):
    told = train(installed, tmp_path, "--config=fcn:released", "--print_config")
    assert told.returncode == 0, told.stderr
    assert "name: fcn-released" in told.stdout
    wrong = train(installed, tmp_path, "--config=configs/conv8.py", "--print_config")
    assert said_lines(wrong) == [
        "error: there is no config file configs/conv8.py; did you mean conv8, which comes with the "
        "package?"
    ]
    assert (installed / "supermask_jax" / "analysis" / "report" / "report.html").is_file()
    shipped = (installed / "supermask_jax" / "shipped").glob("*.safetensors")
    assert {path.name for path in shipped} == {p.name for p in (ROOT / "tickets").glob("*.saf*")}
    names = {path.stem for path in (installed / "supermask_jax" / "configs").glob("[!_]*.py")}
    assert names == shipped_configs().keys() and not list(tmp_path.iterdir())


def test_a_name_is_the_file_of_a_checkout():
    assert {path.parent for path in shipped_configs().values()} == {ROOT / "configs"}
    for spec in ("conv8", "fcn:released"):
        name, _, variant = spec.partition(":")
        named, filed = load_config(spec), load_config(f"{ROOT}/configs/{name}.py:{variant}")
        assert identity(named) == identity(filed)


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    (tmp_path / "fcn").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="config file fcn is not a Python file"):
        load_config("fcn")


def test_a_config_may_import_its_neighbour(tmp_path):
    # Two folders whose neighbours have one name, one of them imported when the config is made.
    text = "{}def get_config():\n    {}return shared.config()\n"
    for folder, late in (("a", False), ("b", True)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "shared.py").write_text(
            "from supermask_jax.config import default_config\n\n\n"
            "def config():\n    made = default_config()\n"
            f"    made.name = '{folder}'\n    return made\n"
        )
        words = ("", "import shared\n    ") if late else ("import shared\n\n", "")
        (tmp_path / folder / "mine.py").write_text(text.format(*words))
    path, modules = list(sys.path), set(sys.modules)
    for folder in ("a", "b"):
        assert load_config(str(tmp_path / folder / "mine.py")).name == folder
    assert sys.path == path
    assert "shared" not in sys.modules.keys() - modules
