"""How the pages are built: `make docs`, then open docs/_build/html/index.html. No page needs a network."""

import re
import sys
import typing
from importlib.metadata import version as version_of
from pathlib import Path

from docutils.parsers.rst.states import Inliner
from pygments.lexers import JsonLexer, TextLexer

HERE = Path(__file__).parent

typing.GENERATING_DOCUMENTATION = "dissect"  # type: ignore[attr-defined]  # jaxtyping prints Float[...] without a module
sys.path.insert(0, str(HERE))

import prepare  # noqa: E402
from tables import ReadableTables  # noqa: E402

project = "dissect"
author = "the authors of dissect"
version = release = version_of("dissect-unlearning")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_templates", "*.py"]
templates_path = ["_templates"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # the tests run the notebooks; here they stand as they are stored
nb_output_stderr = "remove"

autosummary_ignore_module_all = False
autodoc_default_options = {"members": True, "no-value": True}  # a value may hold an address, another in every build
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
default_role = "py:obj"  # `name` in a docstring links to what has that name, and is code where nothing has

html_theme = "furo"
html_title = f"dissect {version}"
html_static_path = ["_static"]
html_css_files = ["dissect.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}


def _bar(self: Inliner, match: re.Match[str], line: int) -> tuple[str, list[typing.Any], str, list[typing.Any]]:
    """A bar is a bar: docstrings hold formulas such as |y|, and nothing here is substituted."""
    end = match.end("start")
    return match.string[:end], [], match.string[end:], []


Inliner.dispatch["|"] = _bar


def setup(app: typing.Any) -> None:
    """Write what the pages take from elsewhere in the repository."""
    prepare.write_notebooks(HERE.parent / "notebooks", HERE / "notebooks")
    prepare.write_commands(HERE / "api" / "generated" / "commands.md")
    app.add_post_transform(ReadableTables)
    app.add_lexer("jsonl", JsonLexer)
    app.add_lexer("csv", TextLexer)
    app.connect(
        "build-finished", lambda app, error: error or prepare.write_plotly(Path(app.outdir), HERE / "notebooks")
    )
