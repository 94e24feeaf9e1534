"""A module imports only from the layers below its own."""

import ast
import re
import subprocess
import sys

import pytest
from helpers import ROOT

PACKAGE = ROOT / "supermask_jax"

# Rows from the bottom: what each part of the package may import of the package, and of the stack.
BASE = {"errors", "files", "run_files", "schemas"}
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "schemas": {"errors"},
    "run_files": {"errors", "schemas"},
    "core": BASE | {"core"},
    "methods": BASE | {"core", "methods"},
    "models": BASE | {"models"},
    "modules": BASE | {"core"},
    "data": BASE | {"data"},
    "training": BASE | {"core", "methods", "data", "tickets", "training"},
    "config": BASE | {"config", "data"},
    "tickets": BASE | {"analysis", "core", "data", "models", "tickets"},
    "analysis": BASE | {"analysis"},
    "splits": BASE | {"data", "training"},
    "experiment": BASE
    | {
        "core",
        "methods",
        "models",
        "data",
        "training",
        "config",
        "analysis",
        "splits",
    },
}
BELOW = set(ALLOWED)
ALLOWED["lottery"] = BELOW | {"lottery"}
ALLOWED["studies"] = BELOW | {"lottery", "studies"}
ALLOWED["commands"] = BELOW | set(ALLOWED) | {"commands"}
ALLOWED["cli"] = ALLOWED["commands"]
ALLOWED["__main__"] = {"cli"}

HEAVY = {
    "flax": {"models", "modules", "training"},
    "optax": {"training", "lottery/trainer"},
    "orbax": {"training/checkpoint"},
    "tensorflow_datasets": {"data/sources"},
    "altair": {"analysis/charts"},
    "vl_convert": {"analysis/charts", "analysis/report/page"},
    "ml_collections": {
        "config",
        "experiment",
        "splits",
        "lottery",
        "studies",
        "commands",
    },
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.stem != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    name = str(path.relative_to(PACKAGE).with_suffix(""))
    part = name.split("/")[0]
    for module in imports(path):
        root, *rest = module.split(".")
        if root == "supermask_jax" and rest:
            assert rest[0] in ALLOWED[part], f"{name} imports {module}"
        if root in HEAVY:
            places = HEAVY[root]
            assert any(name == p or name.startswith(f"{p}/") for p in places), (
                f"{name} imports {module}"
            )


def test_few_modules_stand_at_the_top():
    """Beside `__init__` and `__main__`: what fits no package."""
    assert sum(path.parent == PACKAGE and path.stem != "__main__" for path in FILES) <= 8


def test_one_estimator():
    users = {p.stem for p in FILES if "custom_vjp" in p.read_text().replace("`jax.custom_vjp`", "")}
    # The others are exact convolutions.
    assert users == {"estimators", "canonical", "im2col", "winograd"}


def printed(code: str) -> str:
    """What a fresh process prints for some code."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("supermask_jax", ("flax", "optax", "orbax", "tensorflow_datasets", "sklearn")),
        ("supermask_jax.experiment", ("scipy", "tensorflow_datasets", "sklearn", "altair")),
    ],
)
def test_importing_imports_nothing_heavy(module, heavy):
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    assert printed(code) == "[]"


def test_pruning_needs_no_jax():
    code = (
        "import sys, supermask_jax as sm; "
        "sm.Recipe, sm.unpruned, sm.next_level, sm.prune, sm.CRITERIA, sm.MASK0_ACTIONS; "
        "print('jax' in sys.modules)"
    )
    assert printed(code) == "False"


def test_the_public_names_are_there_and_those_of_the_reference():
    import supermask_jax

    for name in supermask_jax._LATE:
        found = getattr(supermask_jax, name)
        assert callable(found) if not name.isupper() else found
    table = (ROOT / "docs" / "api" / "index.md").read_text()
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| [")]
    told = re.findall(r"`(\w+)`", " ".join(cells))
    assert sorted(told) == sorted([*supermask_jax._LATE, "UserError", "tickets"])
    with pytest.raises(AttributeError, match="no attribute 'unsigned'"):
        _ = supermask_jax.unsigned
