"""Every notebook runs from top to bottom, and is kept with what it showed."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
FIGURE = "application/vnd.plotly.v1+json"


def test_there_are_six_of_them():
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_kept_with_its_outputs(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [output for cell in code for output in cell.outputs]
    assert all(cell.execution_count for cell in code)
    assert not [output for output in shown if output.output_type == "error"]
    assert any(FIGURE in output.get("data", {}) for output in shown)
    assert not any("plotly.min.js" in str(output) for output in shown), "the library is not stored with every figure"
    assert (NOTEBOOKS / name).stat().st_size < 600_000


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signal handlers are put back: nbclient leaves Python's own, also where a shell had Ctrl-C ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, demo, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # tiny models: a second thread costs more than it gives
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    here = tmp_path / "notebooks"
    here.mkdir()
    shutil.copytree(demo, tmp_path / "runs" / "notebook")  # the same world, made once
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(here)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in shown if output.output_type == "error"]
    assert any(FIGURE in output.get("data", {}) for output in shown)
