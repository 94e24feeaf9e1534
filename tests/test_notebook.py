"""The notebook, executed from its first cell to its last at small size."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
from helpers import ROOT, single_threaded

NOTEBOOK = ROOT / "notebooks" / "supermask.ipynb"

# A process of its own: Jupyter's warnings, sockets and threads stay out of the tests'.
_EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": sys.argv[2]}})
nbformat.write(client.execute(), sys.argv[3])
"""


def test_outputs_are_cleared():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_nothing_needs_tensorflow_or_a_restart():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert not any(word in code for word in ("tensorflow", "kernel_restart", "os.kill", "tfds"))


def first_cell(monkeypatch, folder, absent):
    """What the first cell would install in a folder where these packages are absent."""
    (source,) = [cell["source"] for cell in json.loads(NOTEBOOK.read_text())["cells"][1:2]]
    code = "".join(source).replace('%pip install --quiet {" ".join(missing)}', "pass")
    assert "%" not in code
    code = code.replace("/OWNER/", "/someone/", 1)  # In the address; not in the check of it.
    monkeypatch.chdir(folder)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else found("json")
    )
    names = {}
    exec(code, names)
    return names["missing"]


def test_the_first_cell_installs_what_is_missing_wherever_it_runs(monkeypatch, tmp_path):
    both = ("supermask_jax", "matplotlib")
    away = first_cell(monkeypatch, tmp_path, both)
    assert away == [f"git+{address().replace('OWNER', 'someone')}", "matplotlib"]
    assert first_cell(monkeypatch, ROOT, both) == [".", "matplotlib"]
    assert first_cell(monkeypatch, NOTEBOOK.parent, both) == ["..", "matplotlib"]
    assert first_cell(monkeypatch, tmp_path, ()) == []


def test_what_the_cells_import_is_the_library_with_what_it_needs_or_installed_first():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    imported = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))
    needed = (ROOT / "setup.py").read_text().partition("extras_require")[0]
    for name in imported - {"supermask_jax", "matplotlib", *sys.stdlib_module_names}:
        assert f'"{name}>=' in needed, name


def address():
    return re.search(r'^URL = "(.+)"', (ROOT / "setup.py").read_text(), re.MULTILINE)[1]


def test_one_address_in_badges_notebook_and_package():
    place = address().removeprefix("https://github.com/")
    badge = f"research.google.com/github/{place}/blob/main/notebooks/supermask.ipynb)"
    for path in (ROOT / "README.md", NOTEBOOK):
        assert badge in path.read_text()
    for path in ("mkdocs.yml", "docs/index.md"):
        assert address() in (ROOT / path).read_text()
    assert f'REPOSITORY = \\"{address()}\\"' in NOTEBOOK.read_text()


def test_every_cell_runs(tmp_path):
    for package in ("nbclient", "nbformat", "ipykernel", "matplotlib"):
        pytest.importorskip(package)
    executed = tmp_path / "executed.ipynb"
    environment = single_threaded() | {
        "SUPERMASK_NOTEBOOK_SMALL": "1",
        "JUPYTER_PLATFORM_DIRS": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
    }
    command = [sys.executable, "-c", _EXECUTE, str(NOTEBOOK), str(tmp_path), str(executed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = [
        output
        for cell in json.loads(executed.read_text())["cells"]
        for output in cell.get("outputs", [])
    ]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    text = "".join("".join(output.get("text", "")) for output in outputs)
    assert "bytes instead of" in text
    assert (tmp_path / "runs" / "notebook-3" / "ticket.safetensors").exists()
