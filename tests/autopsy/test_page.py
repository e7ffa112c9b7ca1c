"""The HTML page: escaped, self-contained, the same bytes each time."""

import re
from html.parser import HTMLParser

import plotly.graph_objects as go
import pytest

from dissect.autopsy.page import Code, Drawing, Number, Numbers, Section, Table, page
from dissect.errors import DissectError

EVIL = "</script><script>alert('x')</script> & <b>"


class Tags(HTMLParser):
    """Collects start tags and the text outside of scripts and styles."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.inside = [], "", ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data


def parsed(path):
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    return tags


def evil_page(path):
    figure = go.Figure(go.Scatter(y=[1, 2], name=EVIL), layout={"title": {"text": EVIL}})
    parts = [
        EVIL,
        Table([EVIL, "n"], [[EVIL, 3], ["b", 0.12345]], caption=EVIL),
        Code(EVIL),
        Drawing(figure, EVIL),
        figure,
    ]
    return page(EVIL, [Section(EVIL, parts)], path, lead=EVIL)


def test_all_text_is_escaped(tmp_path):
    seen = parsed(evil_page(tmp_path / "page.html"))
    assert seen.text.count(EVIL) == 10  # title and h1, lead, h2, p, caption, th, td, pre, figcaption
    assert [tag for tag, _ in seen.tags].count("script") == 3  # plotly.js and the two figures
    assert "b" not in [tag for tag, _ in seen.tags]


def test_nothing_is_fetched_and_plotly_is_embedded_once(tmp_path):
    path = evil_page(tmp_path / "page.html")
    seen = parsed(path)
    assert not [tag for tag, attrs in seen.tags if {"src", "href"} & set(attrs)]
    assert path.read_text(encoding="utf-8").count("plotly.js v") == 1


def test_without_figures_the_page_is_small(tmp_path):
    path = page("t", [Section("h", ["p"])], tmp_path / "page.html")
    assert path.stat().st_size < 10_000


def test_same_content_same_bytes(tmp_path):
    assert evil_page(tmp_path / "a.html").read_bytes() == evil_page(tmp_path / "b.html").read_bytes()


def test_numbers_in_tables(tmp_path):
    text = page("t", [Section("h", [Table(["a", "b"], [[0.12345, True]])])], tmp_path / "p.html").read_text()
    assert '<td class="number">0.123</td><td>True</td>' in text


def test_errors_leave_nothing(tmp_path):
    with pytest.raises(DissectError, match=r"'page.pdf': use a name that ends in .html"):
        page("t", [], tmp_path / "page.pdf")
    with pytest.raises(DissectError, match="a table of 2 columns has a row of 1"):
        page("t", [Section("h", [Table(["a", "b"], [["x"]])])], tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_shares_stand_on_a_line_with_their_intervals(tmp_path):
    numbers = Numbers(
        [
            Number("of <it> is left", 0.2, 0.1, 0.4, "<there>", 0.6),
            Number("comes back", -0.5),
            Number("more", 1.2, 0.9, 1.5),
        ]
    )
    text = page("Title", [Section("Numbers", [numbers])], tmp_path / "page.html").read_text()
    assert "of &lt;it&gt; is left" in text and "&lt;there&gt;: 60%" in text and "10% to 40%" in text
    marks = re.findall(r'<i class="(\w+)" style="left:([\d.]+)%(?:;width:([\d.]+)%)?"', text)
    first, second, third = marks[:3], marks[3:4], marks[4:]
    assert first == [("range", "10.0", "30.0"), ("here", "20.0", ""), ("there", "60.0", "")]
    assert second == [("here", "0.0", "")], "below the line: at its end, and no interval where there is none"
    assert third == [("range", "90.0", "10.0"), ("here", "100.0", "")]
