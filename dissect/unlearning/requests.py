"""Several runs that belong together: requests that come one after the other, and sets that grow."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.models.load import load
from dissect.unlearning.unlearn import UnlearningRun, unlearn


def unlearn_in_turn(
    model: str | os.PathLike[str],
    requests: Sequence[Facts],
    *,
    out: str | os.PathLike[str],
    retain: Facts | None = None,
    dtype: str = "float32",
    device: str | None = None,
    progress: bool = True,
    **settings: Any,
) -> list[UnlearningRun]:
    """Forget A, then B, then C: each request trains on from the checkpoint of the one before.

    The reference of each run is the model that it begins with. Checkpoints are ``out/1``, ``out/2``, ...; those that
    an earlier call with the same arguments left are taken as they are.

    Args:
        model: the base checkpoint.
        settings: as for ``dissect.unlearn``.

    Raises:
        DissectError: as ``dissect.unlearn``, or fewer than two requests.
    """
    _check(requests)
    if settings.get("save") == "adapter":
        raise DissectError("save='adapter': an adapter of an adapted model is no checkpoint of its own: leave it out")
    runs: list[UnlearningRun] = []
    start: Any = model
    for number, facts in enumerate(requests, start=1):
        loaded = load(start, dtype=dtype, device=device, progress=False)
        start = Path(out) / str(number)
        runs.append(unlearn(loaded, forget=facts, retain=retain, out=start, reuse=True, progress=progress, **settings))
    return runs


def unlearn_growing(
    model: str | os.PathLike[str],
    requests: Sequence[Facts],
    *,
    out: str | os.PathLike[str],
    retain: Facts | None = None,
    dtype: str = "float32",
    device: str | None = None,
    progress: bool = True,
    **settings: Any,
) -> list[UnlearningRun]:
    """Forget A; A and B; A, B and C: each time from the base model, on a set that grows.

    Checkpoints and arguments as for ``unlearn_in_turn``.

    Raises:
        DissectError: as ``dissect.unlearn``, or fewer than two sets.
    """
    _check(requests)
    runs: list[UnlearningRun] = []
    for number in range(1, len(requests) + 1):
        facts = Facts([fact for part in requests[:number] for fact in part])
        loaded = load(model, dtype=dtype, device=device, progress=False)
        path = Path(out) / str(number)
        runs.append(unlearn(loaded, forget=facts, retain=retain, out=path, reuse=True, progress=progress, **settings))
    return runs


def _check(requests: Sequence[Facts]) -> None:
    if len(requests) < 2:
        raise DissectError(f"{len(requests)} request: several belong here, dissect.unlearn does one")
