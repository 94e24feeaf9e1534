"""What a release needs: one version, types, names, and workflows that can be read."""

import re

import pytest
from helpers import ROOT

import supermask_jax as sm
from supermask_jax import cli


def test_the_version_stands_in_one_place(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"supermask-jax {sm.__version__}\n"
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited[1] == sm.__version__
    assert sm.__version__ not in (ROOT / "setup.py").read_text()


def test_all_names_can_be_had():
    assert {"run", "signed", "UserError", "__version__"} <= set(sm.__all__)
    assert all(getattr(sm, name) is not None for name in sm.__all__)
    assert set(sm.__all__) <= set(dir(sm))
    assert (ROOT / "supermask_jax" / "py.typed").is_file()


@pytest.mark.parametrize(
    "path",
    [
        *(ROOT / ".github").glob("*.yml"),
        *(ROOT / ".github").glob("workflows/*.yml"),
        ROOT / ".pre-commit-config.yaml",
    ],
    ids=lambda path: path.stem,
)
def test_files_of_the_forge_can_be_read(path):
    yaml = pytest.importorskip("yaml")
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_workflows_test_the_oldest_and_the_newest_python():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    supported = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.py").read_text())
    tested = re.findall(r'python: "(3\.\d+)"', text)
    assert tested == [supported[0], supported[-1]]
