"""How deep each method's forgetting goes on the embedded world: depth, relearning and rounding, as Markdown tables.

    python benchmarks/evaluation.py [--out runs/depth] [--methods ga,npo]

The demo's world: 20 of 200 people are forgotten; retain losses see half of the others, and the other half is measured.
Settings are those of docs/unlearning.md (benchmarks/methods.py chooses them). Beside the methods stand the base model
and a model that was trained from the start without the 20 people, which is UDS's reference and relearning's control.
Everything is kept in --out, and what is there is not computed again.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the model is too small for more

import dissect
from dissect.evaluation.evaluation_result import Evaluation
from dissect.evaluation.scored_row import Row
from dissect.reproductions.world_models import train_base
from dissect.unlearning.unlearn import unlearn

N_PEOPLE, N_FORGET, BATCH = 200, 20, 16
METHODS: dict[str, tuple[dict[str, Any], bool]] = {
    "ga": ({"method": "ga", "lr": 2e-4, "epochs": 6}, False),
    "grad_diff": ({"method": "grad_diff", "lr": 2e-4, "epochs": 16}, True),
    "npo": ({"method": "npo", "lr": 2e-4, "epochs": 16}, True),
    "npo_kl": ({"method": "npo", "retain_loss": "kl", "lr": 2e-4, "epochs": 16}, True),
    "simnpo": ({"method": "simnpo", "lr": 1e-3, "epochs": 16}, True),
    "undial": ({"method": "undial", "lr": 5e-4, "epochs": 16}, False),
    "undial_retain": ({"method": "undial", "lr": 1e-3, "epochs": 16}, True),
    "wga": ({"method": "wga", "lr": 5e-4, "epochs": 12}, True),
}
"""Settings, and whether there is a retain loss."""
MEASURES = ("exact_match", "answer_probability", "uds", "erasure_depth", "relearning", "quantisation")
OPTIONS = {"relearning.lr": 2e-4, "relearning.steps": 50}


def checkpoints(out: Path, methods: list[str]) -> tuple[dissect.World, dict[str, Path]]:
    """The world's models and every method's checkpoint; those that exist are taken as they are."""
    world = dissect.World.make(N_PEOPLE, 4, seed=0)
    places = {name: out / name for name in ("base", "retrained", *methods)}
    if not places["base"].is_dir():
        train_base(world, places["base"])
    if not places["retrained"].is_dir():
        train_base(world, places["retrained"], people=range(N_FORGET, N_PEOPLE))
    forget, half = world.facts(range(N_FORGET)), N_FORGET + (N_PEOPLE - N_FORGET) // 2
    seen = world.facts(range(N_FORGET, half))
    for name in methods:
        settings, kept = METHODS[name]
        if not places[name].is_dir():
            model = dissect.load(places["base"], progress=False)
            unlearn(model, forget=forget, retain=seen if kept else None, batch_size=BATCH, out=places[name], **settings)
    return world, places


def measured(world: dissect.World, places: dict[str, Path], out: Path) -> Evaluation:
    """Everything of every checkpoint."""
    path = out / "evaluation.json"
    if path.is_file():
        return Evaluation.load(path)
    half = N_FORGET + (N_PEOPLE - N_FORGET) // 2
    return dissect.evaluate(
        {name: place for name, place in places.items() if name not in ("base", "retrained")},
        forget=world.facts(range(N_FORGET)),
        retain=world.facts(range(half, N_PEOPLE)),
        base=places["base"],
        retrained=places["retrained"],
        measures=MEASURES,
        options=OPTIONS,
        n_examples=0,
        out=path,
    )


def tables(found: Evaluation) -> str:
    """Behaviour and depth; relearning; rounding."""
    behaviour = [
        ("", "forget, exact", "forget, other words", "kept, exact", "UDS", "depth, forget", "depth, kept"),
        *(
            (
                name,
                cell(found, name, "exact_match"),
                cell(found, name, "exact_match", "paraphrased"),
                cell(found, name, "exact_match", "retain"),
                cell(found, name, "uds"),
                cell(found, name, "erasure_depth"),
                cell(found, name, "erasure_depth", "retain"),
            )
            for name in found.names
        ),
    ]
    relearning = [
        ("", "before", "after", "recovered", "more than the control"),
        *(
            (
                name,
                cell(found, name, "relearning", step=0, whose="itself", of="answer probability"),
                cell(
                    found, name, "relearning", step=OPTIONS["relearning.steps"], whose="itself", of="answer probability"
                ),
                cell(found, name, "relearning", whose="itself", of="recovered"),
                cell(found, name, "relearning", whose="difference", of="gain"),
            )
            for name in found.names
        ),
    ]
    formats = ("none", "int8", "int4", "nf4")
    rounding = [
        ("", *formats, "share that returns (nf4)"),
        *(
            (
                name,
                *(cell(found, name, "quantisation", format=each, of="answer probability") for each in formats),
                cell(found, name, "quantisation", format="nf4", of="share that returns"),
            )
            for name in found.names
        ),
    ]
    return "\n\n".join(markdown(rows) for rows in (behaviour, relearning, rounding))


def cell(found: Evaluation, who: str, measure: str, set: str = "forget", /, **at: Any) -> str:
    """Value and interval with two digits; empty where it was not measured."""
    rows = [r for r in found.rows if (r.model, r.measure, r.set, dict(r.at)) == (who, measure, set, at)]
    return short(rows[0]) if rows else ""


def short(row: Row) -> str:
    return f"{row.value:.2f}" + ("" if row.low != row.low else f" ({row.low:.2f} to {row.high:.2f})")


def markdown(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/depth"))
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    world, places = checkpoints(given.out, given.methods.split(","))
    print(tables(measured(world, places, given.out)))
