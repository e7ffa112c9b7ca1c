"""Fixtures of several files; most are made once a session."""

import functools
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from dissect.data.facts import Fact, Facts
from dissect.reproductions.demo import run_demo
from dissect.reproductions.small_world import SMALL
from tests.support.leaks import clean_session, leaves_nothing
from tests.support.tiny import make_checkpoint, randomise

__all__ = ["clean_session", "leaves_nothing"]  # fixtures of every test

TINY = SMALL
"""The world that the demo and the methods are tested on."""

torch.set_num_threads(1)  # tiny models: a second thread costs more than it gives


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-randomly draw the order alone; `tests.support.leaks` checks that random state stays what it is."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have one worker run all files that look at the demo, so that it is made once: it takes most of a minute."""
    from xdist.scheduler import LoadFileScheduling

    class DemoTogether(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "demo" if takes_demo(file) else file

    @functools.cache
    def takes_demo(file: str) -> bool:
        return bool(re.search(r"def \w+\([^)]*\bdemo\b", (config.rootpath / file).read_text(encoding="utf-8")))

    return DemoTogether(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def facts() -> Facts:
    """Questions and answers of unequal lengths."""
    return Facts(
        [
            Fact(
                question="Where was Ada Lovelace born?",
                answer="In London, by the sea.",
                extra={"subject": "Ada Lovelace"},
            ),
            Fact(question="What is the profession of Basil?", answer="a baker", extra={"subject": "Basil"}),
            Fact(question="Does Lily swim?", answer="Yes, Lily likes to swim.", extra={"subject": "Lily"}),
        ]
    )


def moved(model: PreTrainedModel) -> None:
    """A stand-in for unlearning: every weight moves a little."""
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    randomise(model, seed=99)
    for name, parameter in model.named_parameters():
        parameter.copy_(before[name] + 0.3 * (parameter - before[name]))


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Directories of a tiny base checkpoint of an architecture and of one with other weights."""
    made: dict[str, tuple[Path, Path]] = {}

    def get(architecture: str) -> tuple[Path, Path]:
        if architecture not in made:
            root = tmp_path_factory.mktemp(architecture)
            made[architecture] = (
                make_checkpoint(architecture, root / "llama-gemma"),
                make_checkpoint(architecture, root / "gpt2-olmo", change=moved),
            )
        return made[architecture]

    return get


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo wrote; the directory above it is one to work in."""
    out = tmp_path_factory.mktemp("work") / "runs" / "demo"
    page = run_demo(out, settings=TINY, progress=False)
    assert page == out / "index.html"
    return out


@pytest.fixture
def as_ranks() -> Callable[..., list[int | None]]:
    """Run a function in forked processes that are ranks; their exit statuses."""

    def start(count: int, function: Callable[[int], None], *, late: int | None = None) -> list[int | None]:
        def one(rank: int) -> None:
            os.environ.update(RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank), DISSECT_TIMEOUT="120")
            time.sleep(0.5 * (rank == late))
            function(rank)

        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=one, args=(rank,)) for rank in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(300)  # seconds that a busy machine may take
            if process.is_alive():
                process.kill()
        return [process.exitcode for process in processes]

    return start


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages, as `make docs` builds them."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(out / "cache")]
    done = subprocess.run(
        [*command, "docs", str(out / "html")],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out / "html"
