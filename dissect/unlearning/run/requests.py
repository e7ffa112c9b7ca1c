"""Several runs that belong together: requests that come one after the other, and sets that grow."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dissect.data.facts import Facts
from dissect.errors import DissectError, near_miss
from dissect.keywords import keywords
from dissect.models.files.load import load
from dissect.unlearning.unlearn import UnlearningRun, unlearn

KINDS = ("in_turn", "growing")


@keywords()
def unlearn_requests(
    model: str | os.PathLike[str],
    requests: Sequence[Facts],
    *,
    kind: str = "in_turn",
    out: str | os.PathLike[str],
    dtype: str = "float32",
    device: str | None = None,
    **settings: Any,
) -> list[UnlearningRun]:
    """Forget several sets of facts, one after the other or together.

    - ``in_turn``: A, then B, then C, each from the checkpoint of the last, which is also the reference of its run.
    - ``growing``: A; A and B; A, B and C; each time from the base model.

    Checkpoints are ``out/1``, ``out/2``, ...; those that an earlier call with the same arguments left are taken as they
    are.

    Args:
        model: the base checkpoint.
        settings: as for ``dissect.unlearn``, ``retain`` and ``progress`` included.

    Raises:
        DissectError: as ``dissect.unlearn``, another kind, or fewer than two requests.

    Example:
        >>> forget = dissect.Facts.read("runs/demo/forget.jsonl")
        >>> requests = [forget[:6], forget[6:12]]
        >>> runs = dissect.unlearn_requests("runs/demo/base", requests, method="ga", epochs=1, out="runs/requests")
        >>> [run.path.name for run in runs]
        ['1', '2']
    """
    return list(
        each_request(model, requests, kind=kind, out=out, dtype=dtype, device=device, **settings),
    )


def each_request(
    model: str | os.PathLike[str],
    requests: Sequence[Facts],
    *,
    kind: str = "in_turn",
    out: str | os.PathLike[str],
    dtype: str = "float32",
    device: str | None = None,
    **settings: Any,
) -> Iterator[UnlearningRun]:
    """`unlearn_requests` run by run: for models of which only one has room in memory.

    Raises:
        DissectError: as ``unlearn_requests``.
    """
    if kind not in KINDS:
        raise DissectError(f"kind={kind!r}{near_miss(kind, KINDS)}: choose from {', '.join(KINDS)}")
    if len(requests) < 2:
        raise DissectError(f"{len(requests)} request: several belong here, dissect.unlearn does one")
    if kind == "in_turn" and settings.get("save") == "adapter":
        raise DissectError("save='adapter': an adapter of an adapted model is no checkpoint of its own: leave it out")
    for number in range(1, len(requests) + 1):
        start = Path(out) / str(number - 1) if kind == "in_turn" and number > 1 else model
        parts = requests[number - 1 : number] if kind == "in_turn" else requests[:number]
        facts = Facts([fact for part in parts for fact in part])
        loaded = load(start, dtype=dtype, device=device, progress=False)
        yield unlearn(loaded, forget=facts, out=Path(out) / str(number), reuse=True, **settings)
