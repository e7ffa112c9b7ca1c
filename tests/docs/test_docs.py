"""The pages: they build without a warning, need no network, name everything public, and all of their code runs."""

import ast
import importlib.util
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import plotly.graph_objects
import pytest
from sphinx.util.inventory import InventoryFile

import dissect
from dissect import plots
from dissect.unlearning import losses
from tests.support import pages

PAGES = pages.pages()


@pytest.fixture(scope="module")
def ran(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], tuple[dict[str, Any], Path]]:
    """Runs a page once, beside a copy of what the demo wrote: what it defined, and where it worked."""
    done: dict[Path, tuple[dict[str, Any], Path]] = {}

    def run(page: Path) -> tuple[dict[str, Any], Path]:
        if page not in done:
            here = tmp_path_factory.mktemp("page")
            shutil.copytree(demo, here / "runs" / "demo")
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(here)
                done[page] = pages.run(page), here
            logging.getLogger("dissect").setLevel(logging.NOTSET)  # a page may show how to hear more
        return done[page]

    return run


@pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
def test_every_block_of_a_page_runs(page, ran):
    ran(page)


def test_the_readme_does_what_it_says(ran):
    space, here = ran(pages.ROOT / "README.md")
    assert space["both"].recovery("krs").dims == ("component", "layer", "prompt")
    assert "mlp.W_out" in repr(space["pair"].alignment)
    assert "plotly" in (here / "runs/mine/curves.html").read_text()
    assert (here / "runs/curves.html").stat().st_size > 1000


def test_messages_on_the_page_of_errors_are_those_of_the_code():
    """Word for word; … stands there for what the code puts in."""
    strings = [
        node for path in (pages.ROOT / "dissect").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
    ]
    said = [string for node in strings if (string := written(node)) is not None]
    page = (pages.ROOT / "docs/how-to/errors.md").read_text()
    listed = re.findall(r"^\| `(.+?)` \|", page, flags=re.MULTILINE)
    assert len(listed) > 50
    assert [message for message in listed if not any(message in string for string in said)] == []


def written(node: ast.AST) -> str | None:
    """The text of a string, … in the place of what is put in."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        return re.sub("…+", "…", "".join(map(str, parts)))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def test_links_of_the_readme_lead_somewhere():
    """Of the other pages Sphinx knows."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", (pages.ROOT / "README.md").read_text())
    assert len(links) > 5
    assert [link for link in links if not (pages.ROOT / link).exists()] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```\nx = 1\n```\n", "say what the block is"),
        ("    x = 1\n", "an indented block"),
        ("<!-- not run -->\n```python\nx\n```\n", "say why"),
        ("<!-- not run: -->\n```python\nx\n```\n", "say why"),
        ("<!-- not run: slow -->\n\nText.\n", "stands before no block"),
        ("```ruby\nx\n```\n", "nobody knows how to run 'ruby'"),
        ("```sh\nrm -rf x\n```\n", "'rm' is neither ours nor listed"),
        ("```sh\nmake coffee\n```\n", "coffee"),
        ("```sh\npip install 'dissect-unlearning[tea]'\n```\n", "no extra 'tea'"),
        ("```sh\ndissect plot nothing.nc --out x.html\n```\n", "line 2: dissect plot"),
        ("- in a list\n\n  ```python\n  assert False, 'ran'\n  ```\n", "ran"),
        ("```csv\na,b\n1\n```\n", "unequal"),
    ],
)
def test_a_block_that_cannot_be_run_is_noticed(text, says, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "name_of", lambda page: page.name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(AssertionError, match=re.escape(says)):
        pages.run(tmp_path / "page.md")


def test_blocks_are_run_in_order_in_one_namespace(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "name_of", lambda page: page.name)
    text = "```python\nx = [1]\n```\n\n<!-- not run: a reason -->\n```python\nx = 0\n```\n\n"
    text += "1. ```python\n   x += [2]\n   ```\n"
    (tmp_path / "page.md").write_text(text)
    assert pages.run(tmp_path / "page.md")["x"] == [1, 2]
    assert [(block.line, block.skipped) for block in pages.blocks(tmp_path / "page.md")] == [
        (2, None),
        (7, "a reason"),
        (11, None),
    ]


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    """What fills the pages from elsewhere, which is no package."""
    spec = importlib.util.spec_from_file_location("prepare", pages.ROOT / "docs" / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stored_figures_are_drawn_by_one_library_beside_the_pages(prepare, tmp_path):
    figure = plotly.graph_objects.Figure(plotly.graph_objects.Scatter(x=[1, 2], y=[3.25, 4.5]), {"title": "drawn"})
    outputs = [nbformat.v4.new_output("display_data", {prepare.PLOTLY: figure.to_plotly_json()}) for _ in range(2)]
    cells = [nbformat.v4.new_code_cell("x", outputs=[output]) for output in outputs]
    (tmp_path / "from").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "from" / "a.ipynb")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "gone.ipynb").write_text("{}")
    prepare.write_notebooks(tmp_path / "from", tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["a.ipynb"]
    first, second = (
        cell.outputs[0]["data"]["text/html"] for cell in nbformat.read(tmp_path / "to" / "a.ipynb", 4).cells
    )
    assert first.count("../_static/plotly.min.js") == 1 and "<script src" not in second
    assert all("[3.25,4.5]" in html and "drawn" in html and 'src="http' not in html for html in (first, second))
    before = (tmp_path / "to" / "a.ipynb").stat().st_mtime_ns
    prepare.write_notebooks(tmp_path / "from", tmp_path / "to")
    assert (tmp_path / "to" / "a.ipynb").stat().st_mtime_ns == before
    prepare.write_plotly(tmp_path / "html", tmp_path / "to")
    assert (tmp_path / "html/_static/plotly.min.js").stat().st_size > 1e6


def test_make_docs_is_what_was_built_here():
    assert "sphinx -W --keep-going -b html docs docs/_build/html" in (pages.ROOT / "Makefile").read_text()


def test_no_page_asks_the_network_for_anything(site):
    asked = {
        (path.name, found)
        for path in site.rglob("*.html")
        for found in re.findall(
            r'<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)', path.read_text()
        )
    }
    asked |= {
        (path.name, found)
        for path in site.rglob("*.css")
        for found in re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", path.read_text())
    }
    assert asked == set()


def test_everything_public_is_on_a_page(site):
    with (site / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, name: name)
    there = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    public = {f"dissect.{name}" for name in dissect.__all__}
    public |= {f"dissect.unlearning.losses.{name}" for name in losses.__all__}
    public |= {f"dissect.plots.{name}" for name in vars(plots) if callable(getattr(plots, name))}
    public |= {f"dissect.metrics.{path.stem}" for path in (pages.ROOT / "dissect/metrics").glob("[!_]*.py")}
    assert sorted(public - there) == [], "add it to a page in docs/api"


def test_signatures_show_the_shapes_and_no_addresses(site):
    npo = re.sub(r"<[^>]+>|&\w+;", "", (site / "api/losses.html").read_text())
    assert re.search(r"ref_logits: Float\[Tensor, .?batch pos vocab", npo)
    assert not any(re.search(r"0x[0-9a-f]{8}", path.read_text()) for path in (site / "api").rglob("*.html"))


def test_numbers_in_tables_keep_their_units_and_sentences_their_room(site):
    page = (site / "benchmarks.html").read_text()
    assert re.search(r"<td><p>[\d.]+\N{NO-BREAK SPACE}s</p>", page) and not re.search(r"<td><p>[\d.]+ s</p>", page)
    assert '<td class="sentences">' in (site / "how-to/errors.html").read_text()
    assert "sentences" not in (site / "index.html").read_text().partition("<article")[2], "two columns fit a phone"
