"""Data and scripts of a page inside its one file: nothing in them can leave the place where it stands."""

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from math import isfinite
from typing import Any

from dissect.visible import visible

_ACTING = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""What could end a script element or begin a comment in it, as JSON may write it as well."""


def web(name: str) -> str:
    """Return a script or style sheet of the package."""
    return (files("dissect.autopsy.picker") / "web" / name).read_text(encoding="utf-8")


def plain(text: str) -> str:
    """Return text for HTML: escaped, with control characters and directions of writing spelt out."""
    return escape(visible(text))


def embedded(content: Any) -> str:
    """Return compact ASCII JSON that can stand in a script element; numbers that are not finite are null.

    Control characters and directions of writing in texts are spelt out, as everywhere on the page.
    """
    text = json.dumps(_plain(content), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character, written in _ACTING.items():
        text = text.replace(character, written)
    return text


def widget(kind: str, content: Any) -> str:
    """Return the element that a script of this name fills, with its data."""
    name = escape(kind)
    return (
        f'<div class="{name}" data-widget="{name}"><script type="application/json">{embedded(content)}</script>'
        "<noscript><p>This part needs JavaScript.</p></noscript></div>"
    )


def document(kind: str, content: Any, *, title: str) -> str:
    """Return a whole page with one widget, for a notebook's frame; light and dark follow the reader's setting."""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(visible(title, lines=False))}</title>"
        f"<style>{web('base.css')}{web('widgets.css')}</style></head>"
        f'<body class="framed">{widget(kind, content)}{scripts([kind])}</body></html>'
    )


def scripts(kinds: list[str]) -> str:
    """Return the scripts that fill the widgets of these kinds."""
    return "".join(f"<script>{web(name)}</script>" for name in ["common.js", *(f"{kind}.js" for kind in kinds)])


def framed(page: str, *, height: int = 640) -> str:
    """Return a frame with a page in it: its styles and names stay apart from the notebook's."""
    return (
        f'<iframe srcdoc="{escape(page)}" style="width:100%;height:{height}px;border:0" '
        'sandbox="allow-scripts allow-downloads" title="dissect"></iframe>'
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {visible(str(key)): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
