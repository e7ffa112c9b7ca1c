"""Figures on disk: whole, self-contained, or refused with one line."""

import importlib.util
import shutil

import plotly.graph_objects as go
import pytest

from dissect import plots
from dissect.errors import DissectError

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
    with pytest.raises(DissectError, match=r"pip install 'dissect\[image\]'"):
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


@pytest.mark.skipif(not BROWSER, reason="no Chrome or Chromium here")
def test_images(tmp_path):
    pytest.importorskip("kaleido")
    assert plots.write(FIGURE, tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert plots.write(FIGURE, tmp_path / "figure.svg").read_text(encoding="utf-8").startswith("<svg")
