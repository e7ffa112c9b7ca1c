"""Pages as a real browser shows them: Chromium, headless, without a network."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
_NARROWEST = 500
"""Windows are no narrower; narrower pages are shown in a frame of one."""
_PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const plots = [...document.querySelectorAll(".js-plotly-plot")];
  const drawn = plots.filter(plot => plot.querySelector("svg.main-svg .trace, svg.main-svg .heatmaplayer image"));
  const seen = {scroll: document.documentElement.scrollWidth, inner: window.innerWidth,
                plots: plots.length, drawn: drawn.length};
  Object.assign(document.documentElement.dataset, seen);
  parent.postMessage(seen, "*");
}, 500));
</script>"""
"""Measures the page once loaded, and leaves the numbers in its root element and in that of a frame around it."""
_FRAME = """<!DOCTYPE html><html><head><script>
addEventListener("message", event => Object.assign(document.documentElement.dataset, event.data));
</script></head><body>
<iframe src="{address}" style="width:{width}px;height:{height}px;border:0"></iframe>
</body></html>"""


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


def look(page: Path, *, width: int = 1280, height: int = 2000, screenshot: Path | None = None) -> Seen:
    """Open a page from its file, with every name unresolvable, and probe it."""
    with tempfile.TemporaryDirectory() as home:
        probed = page.with_name(f".{page.stem}-probed.html")
        probed.write_text(page.read_text(encoding="utf-8").replace("</head>", f"{_PROBE}</head>", 1), encoding="utf-8")
        opened = probed
        if width < _NARROWEST:
            opened = Path(home) / "frame.html"
            opened.write_text(_FRAME.format(address=probed.as_uri(), width=width, height=height))
        flags = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={home}/profile"),
            *(f"--window-size={max(width, _NARROWEST)},{height}", "--virtual-time-budget=20000"),
            *("--enable-logging=stderr", "--disable-component-update", "--no-first-run"),
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ]
        shot = [f"--screenshot={screenshot}"] if screenshot is not None else ["--dump-dom"]
        command = [browser(), *flags, *shot, opened.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        finally:
            probed.unlink()
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(said, done.stdout)
