"""Pages as a real browser shows them: Chromium, headless, without a network."""

import contextlib
import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
_NARROWEST = 500
"""Windows are no narrower; narrower pages are shown in a frame of one."""
_WATCH = """<script>
var missing = 0; addEventListener("error", event => { missing += event.target !== window; }, true);
</script>"""
"""Counts what a page asks for and does not get (images, scripts, style sheets), of which the console says nothing."""
_PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const all = chosen => [...document.querySelectorAll(chosen)];
  const plots = all(".js-plotly-plot");
  const drawn = plots.filter(plot => plot.querySelector("svg.main-svg .trace, svg.main-svg .heatmaplayer image"));
  const clash = plot => {
    const [title, legend] = [".gtitle", ".legend .bg"].map(part => plot.querySelector(part)?.getBoundingClientRect());
    return title && legend && legend.height && title.bottom > legend.top && legend.bottom > title.top;
  };
  const scrolled = all("html, .content").map(box => box.scrollWidth);
  const seen = {scroll: Math.max(...scrolled),
                inner: window.innerWidth, plots: plots.length, drawn: drawn.length,
                clashes: plots.filter(clash).length, missing};
  Object.assign(document.documentElement.dataset, seen);
  parent.postMessage(seen, "*");
}, 500));
</script>"""
"""Measures the page once loaded, and leaves the numbers in its root element and in that of a frame around it.

On a narrow screen the documentation's theme lets the text's container scroll (.content), not the page.
"""
_FRAME = """<!DOCTYPE html><html><head></head><body>
<iframe style="width:{width}px;height:{height}px;border:0"></iframe><script>
const pages = {addresses}, seen = [], frame = document.querySelector("iframe");
const next = () => {{ if (seen.length < pages.length) frame.src = pages[seen.length]; }};
addEventListener("message", event => {{
  if (event.data.acted) {{ document.documentElement.dataset.acted = event.data.acted; return; }}
  seen.push(event.data);
  Object.assign(document.documentElement.dataset, event.data, {{all: JSON.stringify(seen)}});
  next();
}});
next();
</script></body></html>"""
"""Shows one page after the other at a width, and keeps what the probe says of each."""


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page."""

    console: list[str]
    """Warnings and errors of the page's scripts."""
    dom: str
    """The page after its scripts ran."""

    def number(self, name: str) -> int:
        """One of the probe's numbers."""
        found = re.search(rf'<html[^>]*data-{name}="(\d+)"', self.dom)
        assert found is not None, f"the page's scripts did not run to the end: {self.console}"
        return int(found[1])


def browser() -> str:
    """The browser's path; skips the test where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here")
    return found


def act(page: Path, script: str, *, width: int = 1280, fragment: str = "") -> tuple[list[str], dict[str, Any]]:
    """Open a page and run the body of an async function in it; what was said, and what the function returned."""
    runner = f"""<script>addEventListener("load", async () => {{
      let seen;
      try {{ seen = await (async () => {{ {script} }})(); }} catch (error) {{ seen = {{error: String(error)}}; }}
      document.documentElement.dataset.acted = JSON.stringify(seen);
      parent.postMessage({{acted: JSON.stringify(seen)}}, "*");
    }});</script>"""
    with tempfile.TemporaryDirectory() as home, probed([page]) as (copy,):
        copy.write_text(copy.read_text(encoding="utf-8").replace("</head>", f"{runner}</head>", 1), encoding="utf-8")
        opened = copy if width >= _NARROWEST else framed([copy], Path(home), width, 1500)
        seen = _open(opened, home, "--dump-dom", f"--window-size={max(width, _NARROWEST)},1500", fragment=fragment)
    kept = re.search(r'<html[^>]*data-acted="([^"]*)"', seen.dom)
    assert kept is not None, f"the page did not come to its end: {seen.console}"
    result = json.loads(html.unescape(kept[1]))
    assert "error" not in result, result["error"]
    return seen.console, result


def look(page: Path, *, width: int = 1280, height: int = 2000, screenshot: Path | None = None) -> Seen:
    """Open a page from its file, with every name unresolvable, and probe it."""
    with tempfile.TemporaryDirectory() as home, probed([page]) as (copy,):
        opened = copy
        if width < _NARROWEST:
            opened = framed([copy], Path(home), width, height)
        shot = "--dump-dom" if screenshot is None else f"--screenshot={screenshot}"
        return _open(opened, home, shot, f"--window-size={max(width, _NARROWEST)},{height}")


def look_through(pages: Iterable[Path], *, width: int) -> tuple[list[str], list[dict[str, int]]]:
    """Open many pages one after the other in one browser: all that was said, and the probe's numbers of each."""
    with tempfile.TemporaryDirectory() as home, probed(pages) as copies:
        opened = framed(copies, Path(home), width, 1000)
        budget = f"--virtual-time-budget={2000 * len(copies) + 10000}"
        seen = _open(opened, home, "--dump-dom", f"--window-size={max(width, _NARROWEST)},1000", budget)
    kept = re.search(r'<html[^>]*data-all="([^"]*)"', seen.dom)
    numbers = [] if kept is None else json.loads(kept[1].replace("&quot;", '"'))
    assert len(numbers) == len(copies), f"stopped after {len(numbers)} of {len(copies)} pages: {seen.console}"
    return seen.console, numbers


@contextlib.contextmanager
def probed(pages: Iterable[Path]) -> Iterator[list[Path]]:
    """Copies of pages with the probe in them, beside the pages so that what they load is found, for a while."""
    copies: list[Path] = []
    try:
        for page in pages:
            copies.append(page.with_name(f".{page.stem}-probed.html"))
            text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{_WATCH}", 1)
            text = text.replace("</head>", f"{_PROBE}</head>", 1)
            copies[-1].write_text(text, encoding="utf-8")
        yield copies
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


def framed(pages: list[Path], folder: Path, width: int, height: int) -> Path:
    """A page in a folder that shows pages one after the other at a width."""
    addresses = json.dumps([page.as_uri() for page in pages])
    (folder / "frame.html").write_text(_FRAME.format(addresses=addresses, width=width, height=height))
    return folder / "frame.html"


def _open(page: Path, home: str, *flags: str, fragment: str = "") -> Seen:
    """Run the browser once; later flags win."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--virtual-time-budget=20000", "--enable-logging=stderr", "--disable-component-update"]
    command += ["--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={home}/profile"]
    done = subprocess.run(
        [*command, *flags, page.as_uri() + fragment], capture_output=True, text=True, timeout=600, check=True
    )
    return Seen([line for line in done.stderr.splitlines() if ":CONSOLE" in line], done.stdout)
