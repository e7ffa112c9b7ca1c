"""The recipes of docs/extending.md, carried out in a copy of the package as they stand on the page."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pages

PAGE = pages.ROOT / "docs" / "extending.md"
CHECKS = ("metric", "measure", "attack", "objective", "site", "command")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package in which every recipe was followed."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(pages.ROOT / "dissect", root / "dissect", ignore=shutil.ignore_patterns("__pycache__"))
    for block in pages.blocks(PAGE):
        assert block.skipped is not None
        if new := re.fullmatch(r"new file (\S+)", block.skipped):
            path = root / new[1]
            assert not path.exists() and path.parent.is_dir(), f"{new[1]}: a new file in a folder that is there"
            path.write_text(block.content)
        elif line := re.fullmatch(r"in (\S+) after: (.+)", block.skipped):
            path = root / line[1]
            text = path.read_text()
            assert text.count(f"\n{line[2]}\n") == 1, f"{line[1]} has no single line {line[2]!r}"
            path.write_text(text.replace(f"\n{line[2]}\n", f"\n{line[2]}\n{block.content}"))
    return root


def test_every_recipe_has_a_check():
    checks = [block.skipped for block in pages.blocks(PAGE) if (block.skipped or "").startswith("check ")]
    assert checks == [f"check {name}" for name in CHECKS]


@pytest.mark.parametrize("name", CHECKS)
def test_the_recipe_works_as_it_stands(name, extended, demo, tmp_path):
    (code,) = (block.content for block in pages.blocks(PAGE) if block.skipped == f"check {name}")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(demo)
    origin = f"assert dissect.__file__.startswith({str(extended)!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"import dissect\n{origin}\n{code}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(extended), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
