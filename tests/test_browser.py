"""The report and the documentation in a real browser: nothing fails, everything is drawn, also on a phone."""

from pathlib import Path

import pytest

import dissect
from tests.browser import look, look_through
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


def test_pages_are_looked_through_one_by_one(tmp_path):
    """Each with its own numbers, and nothing is left beside them."""
    (tmp_path / "bad.html").write_text(
        "<html><head></head><body><img src='no.png'><script>x.y()</script></body></html>"
    )
    (tmp_path / "wide.html").write_text("<html><head></head><body><p style='width:999px'>x</p></body></html>")
    files = sorted(tmp_path.iterdir())
    said, (bad, wide) = look_through(files, width=390)
    assert any("x is not defined" in line for line in said) and any("ERR_FILE_NOT_FOUND" in line for line in said)
    assert bad["broken"] == 1 and bad["scroll"] <= bad["inner"] == 390
    assert wide["broken"] == 0 and wide["scroll"] > 900
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_of_the_documentation_works_from_its_file(width, site: Path):
    """No script fails, every figure is drawn and its title is free, no image is missing, and nothing sticks out."""
    files = sorted(path for path in site.rglob("*.html") if "_modules" not in path.parts)  # those are listings
    said, numbers = look_through(files, width=width)
    assert said == []
    wrong = {
        str(file.relative_to(site)): seen
        for file, seen in zip(files, numbers, strict=True)
        if seen["scroll"] > seen["inner"] or seen["drawn"] < seen["plots"] or seen["broken"] or seen["clashes"]
    }
    assert wrong == {}
    assert len(files) > 50 and sum(seen["plots"] for seen in numbers) >= 15
