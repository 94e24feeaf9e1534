"""The notebook, executed from its first cell to its last at small size."""

import json
import os
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
