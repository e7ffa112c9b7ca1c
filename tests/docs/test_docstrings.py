"""Every public function shows an example in its docstring, and the examples run on what the demo wrote."""

import doctest
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dissect
from dissect.autopsy.report import report
from dissect.keywords import keywords

METHODS = {"Facts.read": dissect.Facts.read, "Facts.prompts": dissect.Facts.prompts}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(dissect, name) for name in dissect.__all__ if inspect.isroutine(getattr(dissect, name))},
    **METHODS,
    "report": report,
    "keywords": keywords,
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def directory(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a copy of what the demo wrote under runs/demo."""
    here = tmp_path_factory.mktemp("docstrings")
    shutil.copytree(demo, here / "runs" / "demo")
    return here


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_public_function_runs(name, directory, monkeypatch):
    monkeypatch.chdir(directory)
    documentation = inspect.getdoc(FUNCTIONS[name]) or ""
    space = {"dissect": dissect, "keywords": keywords}
    examples = doctest.DocTestParser().get_doctest(documentation, space, name, None, 0)
    assert examples.examples, f"{name} shows no example"
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(examples, out=said.append)
    assert not said, "".join(said)
