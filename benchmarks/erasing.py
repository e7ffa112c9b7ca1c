"""What every method does to the embedded world, and what the verdict says of it.

    python benchmarks/erasing.py OUT [--seed 1 --only rmu,pdu --answers]

Trains the demo's base model (200 people, 20 are to be forgotten), unlearns it by each method with the settings below,
and judges all checkpoints by the panel of attacks. Retain losses see half of the other people; the verdict's share of
kept facts is that of the other half. One row a method as a Markdown table and
in OUT/rows.json. A checkpoint that OUT has is used again.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import dissect
from dissect.data.facts import Facts
from dissect.data.world import World
from dissect.reproductions.demo import world_facts
from dissect.reproductions.watches import accuracy
from dissect.reproductions.world_models import train_base

N_PEOPLE, N_ATTRIBUTES, N_FORGET, BATCH = 200, 4, 20, 16
SETTINGS: dict[str, dict[str, Any]] = {
    "ga": {"method": "ga", "lr": 2e-4, "epochs": 6},
    "npo": {"method": "npo", "lr": 2e-4, "epochs": 16},
    "undial": {"method": "undial", "lr": 5e-4, "epochs": 16},
    "max_entropy": {"method": "max_entropy", "lr": 5e-4, "epochs": 16},
    "idk_nll": {"method": "idk_nll", "lr": 5e-4, "epochs": 16},
    "pdu": {"method": "pdu", "lr": 5e-4, "epochs": 16, "retain_eps": 0.05, "dual_warmup_epochs": 0},
    "rmu": {"method": "rmu", "lr": 1e-3, "epochs": 16, "steering_layer": 3, "steering_coeff": 20.0},
    "task_vector": {"method": "task_vector", "lr": 2e-4, "epochs": 6, "task_scale": 1.0},
    "noise_and_repair": {"method": "noise_and_repair", "lr": 1e-3, "epochs": 8, "noise": 1.2},
    "undo": {"method": "undo", "lr": 1e-3, "epochs": 8, "undo_strength": 0.9, "undo_noise": 0.3},
}
"""Settings by method, none of them searched: those of docs/unlearning.md and of the demo where they have some."""
NO_RETAIN = ("ga", "undial", "task_vector")
WITH_TEXTS = ("noise_and_repair", "undo")
"""Methods that repair on all retained facts and plain texts, as in the demo."""


def main() -> None:
    """Train, unlearn, judge, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(SETTINGS), help="methods, with commas")
    parser.add_argument("--answers", action="store_true", help="shares of questions answered, without the verdict")
    arguments = parser.parse_args()
    out, seed, names = arguments.out, arguments.seed, arguments.only.split(",")
    out.mkdir(parents=True, exist_ok=True)
    world = World.make(N_PEOPLE, N_ATTRIBUTES, seed=seed)
    if not (out / "base").is_dir():
        train_base(world, out / "base", n_layers=6, d_model=128, seed=seed, device="cpu", progress=False)
    facts = world_facts(world, out, N_FORGET)
    texts = Facts.from_dataset([{"text": text} for text in world.filler()])
    seconds = {name: _unlearn(name, out, facts, texts, seed) for name in names}
    if arguments.answers:
        _print_answers(names, out, facts, seconds)
        return
    dissect.verdict(
        {name: out / name for name in names},
        base=out / "base",
        forget=facts["forget"],
        retain=facts["retain_unseen"],
        texts=texts,
        seed=seed,
        out=out / "verdict.json",
        overwrite=True,
        progress=False,
    )
    judged = json.loads((out / "verdict.json").read_text(encoding="utf-8"))
    rows = [_row(each, seconds[each["name"]]) for each in judged["checkpoints"]]
    (out / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")


def _print_answers(names: list[str], out: Path, facts: dict[str, Facts], seconds: dict[str, float]) -> None:
    """Shares of the forgotten and of the unseen retained facts whose question is answered, as in training."""
    base = dissect.load(out / "base", progress=False)
    asked = {"forget": facts["forget"].prompts(base), "retain": facts["retain_unseen"].prompts(base)}
    probe = accuracy(**asked)
    for name in names:
        shares = probe(dissect.load(out / name, progress=False))
        print(f"| {name} | {shares['forget']:.0%} | {shares['retain']:.0%} | {seconds[name]:.0f} |", flush=True)


def _unlearn(name: str, out: Path, facts: dict[str, Facts], texts: Facts, seed: int) -> float:
    """Unlearn by one method; seconds of the run, or of the run that wrote the checkpoint."""
    clock = out / f"{name}.seconds"
    if (out / name).is_dir() and clock.is_file():
        return float(clock.read_text())
    retain: Facts | None = None if name in NO_RETAIN else facts["retain_seen"]
    if name in WITH_TEXTS:
        retain = Facts([*facts["retain"], *texts])
    began = time.perf_counter()
    dissect.unlearn(
        dissect.load(out / "base", progress=False),
        forget=facts["forget"],
        retain=retain,
        batch_size=BATCH,
        seed=seed,
        out=out / name,
        overwrite=True,
        progress=False,
        **SETTINGS[name],
    )
    clock.write_text(str(time.perf_counter() - began))
    return float(clock.read_text())


def _row(found: dict[str, Any], seconds: float) -> dict[str, str]:
    """Numbers of one checkpoint as they stand in the table; shares in %."""

    def share(value: dict[str, Any] | None) -> str:
        return "" if value is None or value["value"] is None else f"{100 * value['value']:.0f}"

    relearned = next((each for each in found["attacks"] if "relearn" in each["name"]), None)
    said = {f"said, {wording}": share(value) for wording, value in found["said"].items()}
    return {
        "method": found["name"],
        **said,
        "kept": share(found["kept"]),
        "perplexity": f"{found['perplexity']:.2f}" if found["perplexity"] else "",
        "verdict": found["verdict"],
        "share left": share(found["share_left"]),
        "relearned": "" if relearned is None else share(relearned["share_left"]),
        "seconds": f"{seconds:.0f}",
    }


if __name__ == "__main__":
    main()
