"""Figures on disk: whole, self-contained, or refused with one line."""

import importlib.util
import re
import shutil

import numpy as np
import plotly.graph_objects as go
import pytest

from dissect import plots
from dissect.errors import DissectError
from tests.support.results import make_result

FIGURE = go.Figure(go.Scatter(y=[1, 3, 2]))
BROWSER = any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome"))


def test_html_needs_no_network(tmp_path):
    page = plots.write(FIGURE, tmp_path / "new" / "figure.html").read_text(encoding="utf-8")
    assert "<script src" not in page and "<link" not in page
    assert "plotly.js v" in page


def test_unknown_suffix_leaves_nothing(tmp_path):
    with pytest.raises(DissectError, match=r"'figure.jpg': use a name that ends in .html, .png, .pdf, .svg"):
        plots.write(FIGURE, tmp_path / "figure.jpg")
    assert not list(tmp_path.iterdir())


def test_a_missing_kaleido_is_told_before_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DissectError, match=r"pip install 'dissect-unlearning\[image\]'"):
        plots.write(FIGURE, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("browser", ["/no/such/browser", shutil.which("false") or "/bin/false"])
def test_a_missing_browser_is_one_line(tmp_path, monkeypatch, browser):
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", browser)
    with pytest.raises(DissectError, match="needs a Chrome or Chromium") as caught:
        plots.write(FIGURE, tmp_path / "figure.svg")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("width", "pixels"), [("column", 312), ("text", 648), (5, 480)])
def test_a_figure_for_print_is_as_wide_as_the_paper_and_has_its_type(width, pixels):
    given = plots.curves(make_result({"krs": [[4.0, 2.0], [0.0, 0.0], [3.0, 1.0], [1.0, 0.5]]}, layers=[0, 1]))
    before = given.to_json()
    made = plots.for_paper(given, width)
    assert given.to_json() == before
    assert made.layout.width == pixels and made.layout.title.text is None
    assert "caption" in [note.name for note in given.layout.annotations]
    assert "caption" not in [note.name for note in made.layout.annotations]
    points = [made.layout.font.size, made.layout.xaxis.tickfont.size, made.layout.legend.font.size]
    assert [round(0.75 * size, 3) for size in points] == [8, 7, 7]
    for drawn, shown in zip(given.data, made.data, strict=True):
        assert list(drawn.y) == list(shown.y)
    assert plots.for_paper(given, width, title=True).layout.title.text == given.layout.title.text


def test_names_of_rows_have_room_and_numbers_do_not_overlap():
    rows = [f"block {number}" for number in range(40)]
    grid = go.Figure(go.Heatmap(z=np.ones((40, 12)), x=list("abcdefghijkl"), y=rows, texttemplate="%{z}"))
    made = plots.for_paper(grid)
    assert made.layout.height > 40 * 7 * 4 / 3 and made.data[0].texttemplate is None
    few = go.Figure(go.Heatmap(z=np.ones((2, 2)), x=["a", "b"], y=["a", "b"], texttemplate="%{z}"))
    assert plots.for_paper(few).data[0].texttemplate == "%{z}"


@pytest.mark.parametrize("width", ["page", 0.5])
def test_a_width_that_no_paper_has(width):
    with pytest.raises(DissectError, match="give column, text or a number of inches"):
        plots.for_paper(FIGURE, width)


@pytest.mark.skipif(not BROWSER, reason="no Chrome or Chromium here")
def test_images(tmp_path):
    pytest.importorskip("kaleido")
    assert plots.write(FIGURE, tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    pdf = plots.write(plots.for_paper(FIGURE), tmp_path / "figure.pdf").read_bytes()
    assert float(re.search(rb"/MediaBox \[0 0 ([0-9.]+)", pdf)[1]) == pytest.approx(3.25 * 72)
    assert plots.write(FIGURE, tmp_path / "figure.svg").read_text(encoding="utf-8").startswith("<svg")
