"""The report and the documentation in a real browser: nothing fails, everything is drawn, also on a phone."""

from pathlib import Path

import pytest

import dissect
from tests.browser import look
from tests.results import make_result


def test_the_report_draws_every_plot_without_a_network(demo: Path):
    seen = look(demo / "index.html", height=12000)
    assert seen.console == []
    assert seen.number("plots") >= 15
    assert seen.number("drawn") == seen.number("plots")
    assert "<h2>" in seen.dom and "How it was measured" in seen.dom


@pytest.mark.parametrize("width", [390, 768])
def test_the_report_fits_a_phone(width, demo: Path):
    """Only tables and figures scroll sideways, each in its own frame."""
    seen = look(demo / "index.html", width=width)
    assert seen.number("scroll") <= seen.number("inner")
    assert seen.console == []


def test_a_single_figure_is_a_page_of_its_own(tmp_path):
    path = dissect.plots.write(
        dissect.plots.curves(make_result({"krs": [[4.0, 2.0], [0.0, 0.0], [3.0, 1.0], [1.0, 0.5]]}, layers=[0, 1])),
        tmp_path / "curves.html",
    )
    seen = look(path)
    assert seen.console == [] and seen.number("drawn") == seen.number("plots") == 1


def test_a_failing_page_is_noticed(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<html><head></head><body><script>console.error('x'); nothing.here()</script></body></html>")
    seen = look(page)
    assert len(seen.console) == 2
