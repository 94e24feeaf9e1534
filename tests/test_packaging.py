"""What a release needs: one version, types, names, and workflows that can be read."""

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


# Module -> the name that it is installed by, where they differ.
# Imported where a user has them, with a line of their own where not.


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
