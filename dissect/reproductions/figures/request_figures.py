"""Requests one after the other, and forget sets that grow (Dong et al. 2025; a reconstruction after MUSE's splits)."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dissect import plots
from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.reproductions.figures.global_behaviour import methods_of
from dissect.reproductions.making.figure_inputs import FigureModel
from dissect.reproductions.making.figure_work import FigureWork, Made
from dissect.reproductions.making.measure_rows import Bench
from dissect.reproductions.making.measure_rows import label as words
from dissect.reproductions.making.training_runs import Runs, TableRows, collected, plain, takes_retained
from dissect.unlearning.config.train_config import make_config
from dissect.unlearning.requests import each_request
from dissect.unlearning.run.trainer import Diverged

_METHODS = {
    "GA": {"method": "ga"},
    "GradDiff": {"method": "grad_diff"},
    "NPO": {"method": "npo"},
    "UnDIAL": {"method": "undial", "gamma": 10.0},
}
_DEFAULT = {"train": {"batch_size": 8, "epochs": 5, "lr": 1e-5}, "methods": _METHODS, "n_requests": 4}
SETTINGS: dict[str, dict[str, Any]] = {"sequential": _DEFAULT, "growing": _DEFAULT}
_WORLD = {"train": {"batch_size": 8, "epochs": 5, "lr": 3e-4}}
WORLD: dict[str, dict[str, Any]] = {"sequential": _WORLD, "growing": _WORLD}
_QUICK = {"n_requests": 2, "methods": {"GA": _METHODS["GA"], "UnDIAL": _METHODS["UnDIAL"]}}
QUICK: dict[str, dict[str, Any]] = {"sequential": _QUICK, "growing": _QUICK}
KINDS = {"sequential": "in_turn", "growing": "growing"}
_SETS = ("so far", "first request", "this request", "still to come")
"""Parts of the forget facts: all requested so far, the first and the latest of them, and those still to come."""


def make(work: FigureWork) -> Made:
    """A row for each method, request, measure and set; request 0 is the base model."""
    rows, notes = collected(work, lambda model: _of(work, model))
    order = ["model", "method", "request", "measure", "set", "value", "low", "high", "n", "unit"]
    table = pd.DataFrame(rows).reindex(columns=order)
    return Made({"": draw(table, work.name)}, {"": table}, notes)


def draw(table: pd.DataFrame, name: str) -> go.Figure:
    """From the table."""
    several = table["model"].nunique() > 1
    told = {"so far": "requested so far", "retain": "never requested"}
    shown = table.assign(
        panel=[
            (f"{row['model']}: " if several else "") + f"{words(row['measure'])}, {told.get(row['set'], row['set'])}"
            for _, row in table.iterrows()
        ]
    )
    one_by_one = name == "sequential"
    fixed = shown["method"].isin(["base", "retrained"])
    return plots.panels(
        shown[~fixed],
        x="request",
        curve="method",
        panel="panel",
        references=shown[fixed].assign(name=shown["method"]),
        title="Requests one after the other" if one_by_one else "A forget set that grows",
        subtitle="each from the checkpoint of the last" if one_by_one else "each time from the base model",
        caption="Bands: 95% intervals over facts or texts. Dashed: the base model; dotted: one trained without any of "
        "the forget facts.",
        x_title="requests so far",
        log_y=[panel for panel in shown["panel"] if words("perplexity") in panel],
    )


def cut(facts: Facts, n: object) -> list[Facts]:
    """Facts in ``n`` parts of about the same size, in their order.

    Raises:
        DissectError: fewer facts than parts, or fewer than two parts.
    """
    if type(n) is not int or not 2 <= n <= len(facts):
        raise DissectError(f"n_requests={n!r}: {len(facts)} forget facts can be cut into 2 to {len(facts)} requests")
    ends = [round(len(facts) * number / n) for number in range(n + 1)]
    return [facts[start:stop] for start, stop in itertools.pairwise(ends)]


def _of(work: FigureWork, model: FigureModel) -> tuple[list[dict[str, Any]], list[str]]:
    requests = cut(work.single(model, "forget"), work.settings["n_requests"])
    retain = work.facts(model, "retain_seen")
    runs = Runs(
        work,
        model,
        forget=requests[0],
        retain=retain,
        epochs=[work.settings["train"].get("epochs", 5)],
        asked=_asked(()),
    )
    methods = methods_of(work, runs)
    rows = _references(work, model, requests)
    notes: list[str] = []
    for name, settings in methods.items():
        config = make_config({"seed": work.seed, **plain(settings)})
        keys = {
            number: work.key(
                [model.base],
                {f"request {index}": part for index, part in enumerate(requests[:number])}
                | _sets(work, model, requests, number)
                | {"trained to keep": retain if takes_retained(config) else None},
                train=config.to_dict(),
                kind=work.name,
            )
            for number in range(1, len(requests) + 1)
        }
        nothing: tuple[TableRows, list[str]] = [], []
        run = partial(_method, work, model, requests, name, settings, keys)
        new_rows, said = work.item(f"{model.name} {name}", list(keys.values()), run, nothing)
        rows, notes = rows + new_rows, notes + said
    return rows, notes


def _method(
    work: FigureWork,
    model: FigureModel,
    requests: Sequence[Facts],
    name: str,
    settings: dict[str, Any],
    keys: dict[int, dict[str, Any]],
) -> tuple[TableRows, list[str]]:
    """All requests by one method, an item, for each may begin with the checkpoint of the last."""
    failure, rows = _run(work, model, requests, name, settings, keys), []
    for number, key in keys.items():
        if work.store.get(_label(model, name, number), key) is not None:
            kept_rows = work.kept(_label(model, name, number), key, [model.base], lambda: None)
            rows += [{**row, "model": model.name, "method": name, "request": number} for row in kept_rows]
    return rows, [] if failure is None else [f"{model.name} {name}: {failure}"]


def _run(
    work: FigureWork,
    model: FigureModel,
    requests: Sequence[Facts],
    name: str,
    settings: dict[str, Any],
    keys: dict[int, dict[str, Any]],
) -> str | None:
    """Train and measure what is missing; the reason where a run diverged, after which there are no more."""
    missing = [number for number, key in keys.items() if work.store.get(_label(model, name, number), key) is None]
    config = make_config({"seed": work.seed, **plain(settings)})
    if not missing or (failed := work.store.get(f"{model.name} {name} diverged", keys[missing[0]])):
        return failed if missing else None
    retain = work.facts(model, "retain_seen") if takes_retained(config) else None
    steps = each_request(
        model.base,
        requests[: max(missing)],
        kind=KINDS[work.name],
        out=work.folder / "runs" / f"{model.name} {name}",
        dtype=work.dtype,
        device=work.device,
        retain=retain,
        config=config,
        overwrite=True,
        progress=work.progress,
    )
    work.checkpoints.setdefault(model.base, work.fingerprint(model))
    try:
        for number, run in enumerate(steps, start=1):
            sets = _sets(work, model, requests, number)

            def measured(run: Any = run, sets: Any = sets) -> Any:
                return Bench(work, sets).rows(run.model, _asked(sets))

            work.kept(_label(model, name, number), keys[number], [model.base], measured)
    except DissectError as error:
        if not isinstance(error.__cause__, Diverged):
            raise
        first = next(n for n in keys if work.store.get(_label(model, name, n), keys[n]) is None)
        work.store.put(f"{model.name} {name} diverged", keys[first], str(error))
        return str(error)
    return None


def _references(work: FigureWork, model: FigureModel, requests: Sequence[Facts]) -> list[dict[str, Any]]:
    """Base and retrained model on all requests."""
    sets = _sets(work, model, requests, len(requests))
    rows = []
    for name, source in (("base", model.base), ("retrained", model.retrained)):
        if source is not None:

            def measured(name: str = name, source: str = source) -> Any:
                return Bench(work, sets).rows(work.base(model) if name == "base" else work.load(source), _asked(sets))

            kept_rows = work.kept(name, work.key([source], sets, kind="reference"), [source], measured)
            rows += [{**row, "model": model.name, "method": name, "request": 0} for row in kept_rows]
    return rows


def _sets(work: FigureWork, model: FigureModel, requests: Sequence[Facts], number: int) -> dict[str, Facts | None]:
    """Return the sets that are asked after ``number`` requests."""
    parts = (requests[:number], requests[:1], requests[number - 1 : number], requests[number:])
    sets: dict[str, Facts | None] = {
        name: Facts([fact for part in some for fact in part]) for name, some in zip(_SETS, parts, strict=True) if some
    }
    return sets | {"retain": work.facts(model, "retain"), "texts": work.facts(model, "texts")}


def _asked(sets: Any) -> list[tuple[str, str]]:
    pairs = [("exact_match", name) for name in (*_SETS, "retain")] + [("perplexity", "texts")]
    return [(measure, name) for measure, name in pairs if name in sets]


def _label(model: FigureModel, name: str, number: int) -> str:
    return f"{model.name} {name} request={number}"
