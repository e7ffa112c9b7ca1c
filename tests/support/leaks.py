"""What a test or a fixture may not leave behind: global state, by which later tests would fail or pass.

A test that leaves something fails itself, and the state is put right, so that the next ones are clean. Global random
numbers belong to it: the library and its tests draw from generators of their own, so all tests begin, and end, with
the state with which the session began, in whatever order they run. What compares with a library that draws from the
global ones says so by the mark ``draws``, and the state is put back behind it.
"""

import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import wraps
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import pytest
from transformer_lens import HookedTransformer

from tests.support.global_state import KINDS, RANDOM

PATIENCE = 10.0
"""Seconds that threads and processes get to end."""

_models: "weakref.WeakSet[HookedTransformer]" = weakref.WeakSet()


class Watch:
    """Compares the process with what it was when the session began."""

    def __init__(self) -> None:
        self._values = {name: kind.read() for name, kind in KINDS.items()}
        self._threads, self._processes = set(_threads()), _children()

    def check(
        self, when: str, shared: "dict[HookedTransformer, dict[str, Any]] | None" = None, allowed: Sequence[str] = ()
    ) -> None:
        """Put everything right; fail where something had to be that is not ``allowed``."""
        changed = [said for name, said in self._changed() if name not in allowed]
        left = [*changed, *self._running(), *_touched(shared or {})]
        if left:
            pytest.fail(f"{when} left behind: {'; '.join(left)}", pytrace=False)

    def _changed(self) -> Iterator[tuple[str, str]]:
        for name, kind in KINDS.items():
            try:
                value = kind.read()
            except FileNotFoundError:  # the working directory is gone
                value = None
            if value != self._values[name]:
                kind.put(self._values[name])
                yield name, f"{name} {_difference(self._values[name], value)}".strip()

    def _running(self) -> Iterator[str]:
        until = time.monotonic() + PATIENCE
        for thread in set(_threads()) - self._threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self._threads.add(thread)
                yield f"thread {thread.name}"
        while (processes := _children() - self._processes) and time.monotonic() < until:
            time.sleep(0.05)
        for process in processes:
            yield f"process {process} ({_command(process)})"
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(str(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return f"({', '.join(names)})"
    short = len(repr(before)) < 60 and len(repr(after)) < 60
    return f"({after!r}, was {before!r})" if short else ""


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if not thread.daemon]


def _children() -> set[int]:
    """Processes that this one started and that still run, where the system tells; helpers of Python's own left out."""
    own = {
        getattr(resource_tracker._resource_tracker, "_pid", None),
        getattr(forkserver._forkserver, "_forkserver_pid", None),
    }
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found.update(int(number) for number in path.read_text().split())
    return {number for number in found - own if _runs(number)}


def _runs(process: int) -> bool:
    """Whether it is more than an entry in the system's table, which one that has ended is until it is asked for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command(process: int) -> str:
    """How it was started."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()[:100]
    except OSError:
        return ""


def _note_models() -> None:
    """Have every hooked model known from when it is made."""
    make = HookedTransformer.__init__

    @wraps(make)
    def noted(self: HookedTransformer, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        _models.add(self)

    HookedTransformer.__init__ = noted  # type: ignore[method-assign]


def shared_models() -> dict[HookedTransformer, dict[str, Any]]:
    """The models that there are before a test, which later ones may use too, and the state that they are in."""
    return {model: _state(model) for model in list(_models)}


def _state(model: HookedTransformer) -> dict[str, Any]:
    hooks = [name for name, module in model.named_modules() if module._forward_hooks or module._forward_pre_hooks]
    hooks += [name for name, point in model.hook_dict.items() if point.fwd_hooks or point.bwd_hooks]
    parameters = list(model.parameters())
    return {
        "hooks": sorted(set(hooks)),
        "training mode": model.training,
        "parameters that ask for gradients": [parameter.requires_grad for parameter in parameters],
        "gradients": [parameter.grad is not None for parameter in parameters],
    }


def _touched(shared: dict[HookedTransformer, dict[str, Any]]) -> Iterator[str]:
    for model, before in shared.items():
        after = _state(model)
        for name in before:
            if before[name] != after[name]:
                yield f"{name} of a model that other tests use {_difference(before[name], after[name])}".strip()
        if before["hooks"] != after["hooks"]:
            model.reset_hooks()
            for module in model.modules():
                module._forward_hooks.clear()
                module._forward_pre_hooks.clear()
        model.train(before["training mode"])
        asks = before["parameters that ask for gradients"]
        for parameter, asked, had in zip(model.parameters(), asks, before["gradients"], strict=True):
            parameter.requires_grad_(asked)
            if not had:
                parameter.grad = None


@pytest.fixture(scope="session", autouse=True)
def clean_session() -> Watch:
    """The state that the session began with."""
    _note_models()
    return Watch()


@pytest.fixture(autouse=True)
def leaves_nothing(clean_session: Watch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves something behind, or whose fixtures did."""
    allowed = RANDOM if request.node.get_closest_marker("draws") else ()
    clean_session.check("a fixture of this test, or the end of an earlier one,", allowed=allowed)
    shared = shared_models()
    yield
    clean_session.check("this test", shared, allowed)
