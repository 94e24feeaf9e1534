"""The site, built strictly; the README; and what other files there are about the project."""

import inspect
import json
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import jax
import pytest
from helpers import ROOT, run_command, single_threaded

import supermask_jax as sm
from supermask_jax.analysis.intervals import percent
from supermask_jax.analysis.rows import select
from supermask_jax.studies.reproduce import load_results

PAGES = sorted((ROOT / "docs").rglob("*.md"))
OWN_BLOCKS = {"tickets.md"}  # Blocks of their own: on files that a reader has.


class Page(HTMLParser):
    """Collects what a page links to, the ids that it has, and the resources that it loads."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.loaded, self.maths = [], set(), [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.maths += tag == "math"
        if found.get("id"):
            self.ids.add(found["id"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif found.get("src") or (tag == "link" and found.get("href")):
            self.loaded.append(found.get("src") or found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Builds the site once, and returns {path: page}."""
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python", "latex2mathml"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    environment = single_threaded() | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path.read_text()) for path in folder.rglob("*.html") if path.stem != "404"}


def by_name(site, name):
    return next(page for path, page in site.items() if path.as_posix().endswith(name))


def test_every_internal_link_and_anchor_leads_somewhere(site):
    broken = []
    for path, page in site.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = site[target].ids if target in site else set()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_pages_load_nothing_from_elsewhere(site):
    for path, page in site.items():
        assert not [url for url in page.loaded if urlsplit(url).netloc], path


def test_equations_are_mathml(site):
    assert by_name(site, "methods/signed.html").maths >= 3
    assert by_name(site, "api/methods.html").maths >= 7
    assert by_name(site, "api/running.html").maths  # One of several lines.
    for path in site:
        text = path.read_text()
        assert "arithmatex" not in text and ".. math::" not in text and ":math:" not in text, path


def test_tables_hold_what_the_results_hold(site):
    every = runpy.run_path(str(ROOT / "experiments" / "rows.py"))["ROWS"]
    (result,) = load_results(ROOT / "results", select(every, ["fcn-published"]))
    accuracy = percent(result["accuracy"])
    for name in ("index.html", "methods/signed.html", "originals.html", "results.html"):
        path = next(path for path in site if path.as_posix().endswith(name))
        assert accuracy in path.read_text() and result["paper"]["accuracy"] in path.read_text()


def test_the_first_page_says_how_to_install_and_the_notebook_has_its_page(site):
    index, notebook = (
        next(path for path in site if path.as_posix().endswith(f"/{name}.html"))
        for name in ("index", "notebook")
    )
    start = index.read_text().partition('id="where-to-go"')[0]
    assert "pip install" in re.sub("<.*?>", "", start)
    assert any(link.startswith("https://github.com/") for link in by_name(site, "index.html").links)
    assert any("colab." in link for link in by_name(site, "notebook.html").links)
    assert notebook.read_text().count('class="highlight"') >= 8


def test_every_public_name_is_in_the_reference(site):
    ids = set().union(*(page.ids for page in site.values()))
    for name in (name for name in sm._LATE if not name.isupper()):  # Dicts do not know theirs.
        found = getattr(sm, name)
        assert f"{found.__module__}.{found.__qualname__}" in ids, name


@pytest.mark.parametrize("name", [*sm.METHODS, "lottery"])
def test_every_method_has_its_page(name):
    text = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    for heading in ("## Equation", "## Code", "## Config", "## Our result"):
        assert heading in text
    assert "$$" in text and f'examples/every_method.py:{name}"' in text
    assert re.search(r"<!-- (rows|criteria): ", text)


def test_code_on_pages_is_code_that_is_run():
    for path in PAGES:
        if path.name in OWN_BLOCKS:
            continue
        for block in re.findall(r"```\{?\.?python\}?\n(.*?)```", path.read_text(), re.DOTALL):
            assert re.fullmatch(r'--8<-- "(examples|configs)/[\w.:-]+"\n', block), (path, block)


def test_examples_of_own_data_can_be_pasted(tmp_path):
    text = (ROOT / "docs" / "guides" / "own-data.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text[text.index("## An example of each") :], re.DOTALL)
    (folder,) = (block for block in blocks if "folder:digits" in block)
    (arrays,) = (block for block in blocks if "npz:digits.npz" in block)
    # One of them is trained on too.
    for block in (folder, "".join(x for x in arrays.splitlines(True) if " train " not in x)):
        quick = "--config.epochs=1 --config.model.width=0.1 --workdir"
        script = (
            f'python() {{ {sys.executable} "$@"; }}\n'
            'supermask() { python -m supermask_jax "$@"; }\n'
            f"set -e\n{block.replace('--workdir', quick)}"
        )
        done = run_command(["bash", "-c", script], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "classes               10" in done.stdout
    assert (tmp_path / "digits.png").exists()
    assert (tmp_path / "runs" / "of-folder" / "summary.json").exists()


def test_files_that_commands_on_pages_name_are_there():
    for path in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for name in re.findall(r"python ((?:experiments|examples)/\w+\.py)", path.read_text()):
            assert (ROOT / name).exists(), (path, name)
        for name in re.findall(r"(?:--config=|`)(configs/\w+\.py)", path.read_text()):
            assert (ROOT / name).exists(), (path, name)


def test_the_readme_leads_to_files_that_are_there():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#\s]+)", text)
    assert len(links) > 20
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_python_of_the_readme_runs_in_order_as_one_script(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # It needs no checkout.
    text = (ROOT / "README.md").read_text()
    own_model, *others = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    lines = sum(bool(line) for line in own_model.splitlines())
    assert f"## Your own Flax model, in {lines} lines" in text and others
    names = {}
    with jax.numpy_rank_promotion("allow"):
        exec("\n".join([own_model, *others]), names)
    assert names["loss"] < 1 and names["logits"].shape == (2, 10)
    shares = sm.layer_densities(names["method"].masks(names["trainable"], names["frozen"]))
    assert all(share < 0.15 for share in shares.values())


def test_the_reason_that_the_readme_gives_is_what_was_measured():
    text = " ".join((ROOT / "README.md").read_text().split())
    rows = {
        row: json.loads((ROOT / "results" / f"fcn-{row}.json").read_text())
        for row in ("sparse", "baseline")
    }
    remaining = rows["sparse"]["remaining_weights"]["mean"]
    size = (ROOT / "tickets" / "fcn-sparse.safetensors").stat().st_size
    assert f"keeps {remaining:.2%} of".replace("%", " %") in text
    assert f"is a file of {size:,} bytes" in text
    assert rows["sparse"]["accuracy"]["low"] > rows["baseline"]["accuracy"]["high"]


def test_the_citation_and_the_issue_forms_are_whole():
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["authors"] == [{"name": "The supermask_jax authors"}]
    assert {"cff-version", "message", "title", "license", "version"} <= cited.keys()
    assert cited["version"] == sm.__version__
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.stem for form in forms] == ["bug", "config", "feature", "reproduction"]
    for form in forms:
        loaded = yaml.safe_load(form.read_text())
        if form.stem != "config":
            assert {"name", "description", "body"} <= loaded.keys()
            assert all({"type", "attributes"} <= part.keys() for part in loaded["body"])


def test_docstrings_become_markdown():
    griffe = pytest.importorskip("griffe")
    import importlib.util

    path = ROOT / "docs" / "hooks" / "docstrings.py"
    spec = importlib.util.spec_from_file_location("docstrings_hook", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = inspect.cleandoc("""A thing::

            code

        of :math:`x`:

        .. math::
          a = b,
          \\quad c

        Args:
          x: it.

        >>> f(1)
        [2]
        """)
    found = module.to_markdown(text)
    assert "A thing:\n\n" in found and "of $x$:" in found
    assert "$$\na = b, \\quad c\n$$" in found and found.endswith(
        "x: it.\n\nExamples:\n    >>> f(1)\n    [2]"
    )
    assert issubclass(module.SphinxMath, griffe.Extension)
