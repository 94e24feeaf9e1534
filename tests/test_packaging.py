"""What a release needs: one version, types, names, and workflows that can be read."""

import ast
import re
import sys

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


# Module -> the name that it is installed by, where they differ.
_INSTALLED_AS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "ml_collections": "ml-collections",
    "orbax": "orbax-checkpoint",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
    "vl_convert": "vl-convert-python",
}
# Imported where a user has them, with a line of their own where not.
_OPTIONAL = {
    *("datasets", "huggingface_hub", "jax2onnx", "mlflow", "optuna", "tensorboardX"),
    *("tensorflow", "torch", "wandb", "shtab"),
}


def imported():
    """The modules of other packages that this one imports."""
    found = set()
    for path in (ROOT / "supermask_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"supermask_jax"}


def test_every_requirement_is_imported_and_every_import_required():
    setup = (ROOT / "setup.py").read_text()
    listed = re.search(r"install_requires=\[(.*?)\n    \]", setup, re.DOTALL)[1]
    required = {name.lower() for name in re.findall(r'^ +"([\w-]+)>', listed, re.MULTILINE)}
    names = {_INSTALLED_AS.get(module, module) for module in imported() - _OPTIONAL}
    extras = {"altair", "flatbuffers", "jinja2", "vl-convert-python"}
    assert names - extras - {"etils"} <= required  # etils comes with orbax-checkpoint.
    # jaxlib comes with jax, and TFDS reads by array_record.
    assert required - names == {"jaxlib", "array_record"}


@pytest.mark.parametrize(
    ("module", "extra", "argv"),
    [
        ("altair", "report", ["front", "--rows=fcn-*", "--out={}/front.svg"]),
        ("shtab", "completion", ["completion", "bash"]),
        ("flatbuffers", "stablehlo", ["export", "--ticket=fcn-sparse", "--stablehlo={}/a.hlo"]),
    ],
)
def test_what_is_missing_is_named_with_its_extra(
    module, extra, argv, monkeypatch, capsys, tmp_path
):
    setup = (ROOT / "setup.py").read_text()
    assert f'"{module}>=' in setup and f'"{extra}": [' in setup
    for name in list(sys.modules):
        mine = name.startswith("supermask_jax.analysis.charts")
        if name.partition(".")[0] == module or mine:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main([word.format(tmp_path) for word in argv]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"needs {module}" in line and f"pip install 'supermask-jax[{extra}]'" in line


def test_completion_knows_the_shells_of_shtab():
    import shtab

    from supermask_jax.commands.completion import SHELLS

    assert sorted(SHELLS) == sorted(shtab.SUPPORTED_SHELLS)
