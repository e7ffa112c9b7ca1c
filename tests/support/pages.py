"""The code blocks of a Markdown page: found, and run as a reader would run them."""

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt

from dissect.cli import main

ROOT = Path(__file__).parents[2]
MARKER = re.compile(r"<!--\s*not run\b:?\s*(.*?)\s*-->", re.DOTALL)
DIRECTIVES = ("{toctree}", "{eval-rst}", "{include}")
"""Blocks that are no code, but tell Sphinx what stands there."""
ELSEWHERE = {
    "make": "targets are run as a whole: `make test` is what runs this; that the target exists is checked",
    "source": "a shell's own environment",
    "git": "needs a network",
    "pip": "needs a network; that the extras exist is checked",
    "python": "benchmarks take minutes; that the script exists is checked",
    "torchrun": "starts several processes; what they do is tested in tests/",
    "export": "a shell's own environment",
}
"""Commands that are not run here, and why."""


@dataclass(frozen=True)
class Block:
    """One block of code."""

    language: str
    content: str
    line: int
    """Where its content begins, from 1."""
    skipped: str | None
    """Why it is not run, where the page says so in a comment before it."""


def pages() -> list[Path]:
    """Every page that people write: the README and what stands in docs."""
    written = [path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "generated"} & set(path.parts)]
    return [ROOT / "README.md", *sorted(written)]


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order; also those in lists and quotations.

    Raises:
        AssertionError: a marker without a reason or without a block after it, or a block that does not say what it is.
    """
    found, marker = [], None
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        where = f"{name_of(page)}, line {token.map[0] + 1 if token.map else '?'}"
        if token.type == "html_block" and "not run" in token.content:
            marker = MARKER.search(token.content)
            assert marker and marker[1], f"{where}: say why: <!-- not run: reason -->"
            continue
        assert token.type != "code_block", f"{where}: an indented block: fence it and say what it is"
        if token.type == "fence":
            language = (token.info.split() or [""])[0]
            assert language, f"{where}: say what the block is, for instance ```text"
            if language not in DIRECTIVES:
                found.append(Block(language, token.content, token.map[0] + 2, marker[1] if marker else None))
        assert marker is None or token.type == "fence", f"{where}: `not run` stands before no block"
        marker = None
    return found


def run(page: Path) -> dict[str, Any]:
    """Run all blocks of a page in order, in the current directory; returns what the Python blocks defined.

    Raises:
        AssertionError: a command that failed, or something of which it is not known how to run it.
    """
    space: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        where = f"{name_of(page)}, line {block.line}"
        if block.skipped:
            continue
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.content, name_of(page), "exec"), space)
        elif block.language in ("sh", "bash"):
            for words in commands(block.content):
                run_command(words, where)
        else:
            assert block.language in DATA, f"{where}: nobody knows how to run {block.language!r}"
            DATA[block.language](block.content)
    return space


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell script, lines that go on joined, comments left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def run_command(words: list[str], where: str) -> None:
    """Run a command of ours; of the others see that what they name is there.

    Raises:
        AssertionError: it failed, or is none of those that are known.
    """
    program, *arguments = words
    if program == "dissect":
        assert main(arguments) == 0, f"{where}: {shlex.join(words)}"
        return
    assert program in ELSEWHERE, f"{where}: {program!r} is neither ours nor listed in tests/support/pages.py as not run"
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert all(word in targets for word in arguments if "=" not in word), f"{where}: {arguments}"
    elif program == "pip":
        settings = (ROOT / "pyproject.toml").read_text()
        for extra in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
            for name in extra.split(","):
                assert re.search(rf"^{name} = \[", settings, flags=re.MULTILINE), f"{where}: no extra {name!r}"
    elif program == "python" and arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), f"{where}: no script {arguments[0]}"


def _each_line(text: str) -> None:
    for line in text.splitlines():
        json.loads(line)


def _table(text: str) -> None:
    rows = list(csv.reader(io.StringIO(text), strict=True))
    assert len({len(row) for row in rows}) == 1, f"rows of unequal lengths: {rows}"


DATA = {
    "json": json.loads,
    "jsonl": _each_line,
    "yaml": yaml.safe_load,
    "csv": _table,
    "text": lambda text: None,
}
"""Blocks of data: read as what they say they are."""
