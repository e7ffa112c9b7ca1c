"""The report and the documentation in a real browser: nothing fails, everything is drawn, also on a phone."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

import dissect
from tests.support.browser import look, look_through
from tests.support.results import make_result


def test_the_report_draws_every_plot_without_a_network(demo: Path):
    seen = look(demo / "index.html", height=12000)
    assert seen.console == [] and seen.number("clashes") == seen.number("missing") == 0
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
    bodies = {
        "bad": "<img src='no.png'><script src='no.js'></script><script>x.y()</script>",
        "wide": "<p style='width: 999px'>wide</p>",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.html").write_text(f"<html><head></head><body>{body}</body></html>")
    files = sorted(tmp_path.iterdir())
    said, (bad, wide) = look_through(files, width=390)
    assert len(said) == 1 and "x is not defined" in said[0]
    assert bad["missing"] == 2 and bad["scroll"] <= bad["inner"] == 390
    assert wide["missing"] == 0 and wide["scroll"] > 900
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize(
    ("width", "skipped"),
    [
        (1280, "_modules/*"),  # listings of the source
        (390, "_modules/*|api/generated/dissect.metrics.*"),  # 50 of one kind, of which the API's other pages are too
    ],
    ids=["desk", "phone"],
)
def test_every_page_of_the_documentation_works_from_its_file(width, skipped, site: Path):
    """No script fails, figures are drawn and leave their titles free, nothing is missing, and nothing sticks out."""
    names = sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))
    names = [name for name in names if not any(fnmatch(name, pattern) for pattern in skipped.split("|"))]
    said, numbers = look_through([site / name for name in names], width=width)
    assert said == []
    wrong = {
        name: seen
        for name, seen in zip(names, numbers, strict=True)
        if seen["scroll"] > seen["inner"] or seen["drawn"] < seen["plots"] or seen["missing"] or seen["clashes"]
    }
    assert wrong == {}
    assert len(names) > 40 and sum(seen["plots"] for seen in numbers) >= 15
