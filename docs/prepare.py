"""What the pages take from elsewhere: notebooks, what draws their figures, the commands' help."""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

PLOTLY = "application/vnd.plotly.v1+json"
"""How a notebook stores a figure: its data alone, which is small; the library that draws it is not in there."""
WIDTH = 90
"""Columns of the commands' help."""


def write_notebooks(source: Path, target: Path) -> None:
    """Copy notebooks, their figures turned into HTML that one plotly.min.js beside the pages draws, without a network.

    Copies of notebooks that are gone are removed, and one that is as it was is not written, so not built, again.
    """
    target.mkdir(exist_ok=True)
    names = {path.name for path in source.glob("*.ipynb")}
    for path in target.glob("*.ipynb"):
        if path.name not in names:
            path.unlink()
    for name in names:
        notebook = json.loads((source / name).read_text(encoding="utf-8"))
        draw(notebook)
        write(target / name, json.dumps(notebook, ensure_ascii=False, indent=1))


def draw(notebook: dict[str, Any]) -> int:
    """Give each stored figure of a notebook an HTML form, in place; returns how many there are."""
    from plotly.io import to_html

    number = 0
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            figure = output.get("data", {}).pop(PLOTLY, None)
            if figure is not None:
                number += 1
                drawn = to_html(
                    {key: figure[key] for key in ("data", "layout") if key in figure},
                    config={"responsive": True, "displayModeBar": False},  # it covers titles
                    include_plotlyjs=False,
                    full_html=False,
                    validate=False,
                    div_id=f"figure-{number}",
                )
                library = '<script src="../_static/plotly.min.js"></script>' if number == 1 else ""
                output["data"]["text/html"] = library + drawn
    return number


def write_plotly(pages: Path, notebooks: Path) -> None:
    """Put plotly.min.js beside the pages, if one of them has a figure."""
    if any("_static/plotly.min.js" in path.read_text(encoding="utf-8") for path in notebooks.glob("*.ipynb")):
        from plotly.offline import get_plotlyjs

        write(pages / "_static" / "plotly.min.js", get_plotlyjs())


def write_commands(path: Path) -> None:
    """Write the help of every command as one page."""
    from dissect.cli import app

    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    parts = ["# Commands", "What `dissect COMMAND --help` says. Exit status: 0, or 2 with one line for a mistake."]
    for name in names:
        parts.append(f"## dissect {name}\n\n```text\n{help_of(name)}\n```")
    write(path, "\n\n".join(parts) + "\n")


def help_of(command: str) -> str:
    """The help of one command, as in a terminal of WIDTH columns."""
    from dissect.cli import main

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            main([command, "--help"])
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return said.getvalue().strip()


def write(path: Path, text: str) -> None:
    """Write where something changed, so that the builder can tell what did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
