"""Figures as files: interactive pages and images."""

import importlib.util
import os
from pathlib import Path

import plotly.graph_objects as go

from dissect.errors import DissectError
from dissect.files import atomic_file
from dissect.plots import style

PAGES = (".html",)
IMAGES = (".png", ".pdf", ".svg")


def write(figure: go.Figure, path: str | os.PathLike[str], *, width: int | None = None, scale: float = 2.0) -> Path:
    """Write a figure; the suffix of ``path`` says how. An existing file is replaced whole or not at all.

    Args:
        path: ``.html`` is one self-contained page that needs no network; ``.png``, ``.pdf`` and ``.svg`` need the
            extra ``dissect-unlearning[image]`` and a Chrome or Chromium, found on the PATH or by BROWSER_PATH.
        width: of an image, in pixels, 96 to the inch; the figure's own by default, else 860. ``plots.for_paper`` makes
            figures as wide as a paper's column.
        scale: pixels of a ``.png`` for each pixel of the figure.

    Raises:
        DissectError: another suffix, or no means to draw an image here.
    """
    file = check_path(path)
    with atomic_file(file) as temporary:
        if file.suffix.lower() in PAGES:
            config = {"responsive": True, "displaylogo": False}
            figure.write_html(temporary, include_plotlyjs=True, full_html=True, config=config, div_id="figure")
        else:
            temporary.write_bytes(_image(figure, file.suffix.lower()[1:], width, scale))
    return file


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check that a figure can be written there, as far as can be told before it is drawn.

    Raises:
        DissectError: a suffix that is none of ours, or an image without the extra that draws it.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in PAGES + IMAGES:
        raise DissectError(
            f"cannot write a figure to {file.name!r}: use a name that ends in {', '.join(PAGES + IMAGES)}"
        )
    if file.is_dir():
        raise DissectError(f"{file} is a directory: give the name of a file")
    if suffix in IMAGES and importlib.util.find_spec("kaleido") is None:
        raise DissectError(f"a {suffix} image needs kaleido: pip install 'dissect-unlearning[image]', or write .html")
    return file


def _image(figure: go.Figure, kind: str, width: int | None, scale: float) -> bytes:
    """Let a browser draw it."""
    from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

    missing = f"a .{kind} image needs a Chrome or Chromium: install one, name it in BROWSER_PATH, or write .html"
    try:
        wide = width or figure.layout.width or style.WIDTH
        return figure.to_image(format=kind, width=wide, scale=scale if kind == "png" else 1)  # vectors have a size
    except (BrowserFailedError, BrowserClosedError) as error:
        raise DissectError(f"{missing} (the one found here does not start)") from error
    except (ChromeNotFoundError, RuntimeError) as error:  # the latter: plotly's own, where no browser was found
        raise DissectError(missing) from error
