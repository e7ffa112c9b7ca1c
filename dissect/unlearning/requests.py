"""Several unlearning requests: one after the other, or in sets that grow."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dissect.data.facts import Facts
from dissect.errors import DissectError, near_miss
from dissect.keywords import keywords
from dissect.models.files.load import load
from dissect.models.origins import check_outputs
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

    Checkpoints are ``out/1``, ``out/2``, ...; those that an earlier call with the same arguments wrote are used again.

    Args:
        model: the base checkpoint.
        requests: two or more sets of facts.
        kind: ``in_turn`` or ``growing``.
        out: directory for the checkpoints.
        dtype: dtype to load models in.
        device: device to train on; by default a GPU if there is one.
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
    """Do the same run by run, for models of which only one fits into memory.

    Raises:
        DissectError: as ``unlearn_requests``.
    """
    if kind not in KINDS:
        raise DissectError(f"kind={kind!r}{near_miss(kind, KINDS)}: choose from {', '.join(KINDS)}")
    if len(requests) < 2:
        raise DissectError(
            f"requests must be two or more sets of facts, got {len(requests)}: for one use dissect.unlearn"
        )
    if kind == "in_turn" and settings.get("save") == "adapter":
        raise DissectError(
            "save='adapter' does not go with kind='in_turn', where each run starts from the last one: leave it out"
        )
    places = {f"out, {number}": Path(out) / str(number) for number in range(1, len(requests) + 1)}
    check_outputs(places, {"model": model, "teacher": settings.get("teacher")})
    for number in range(1, len(requests) + 1):
        start = Path(out) / str(number - 1) if kind == "in_turn" and number > 1 else model
        parts = requests[number - 1 : number] if kind == "in_turn" else requests[:number]
        facts = Facts([fact for part in parts for fact in part])
        loaded = load(start, dtype=dtype, device=device, progress=False)
        yield unlearn(loaded, forget=facts, out=Path(out) / str(number), reuse=True, **settings)
