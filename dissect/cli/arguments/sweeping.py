"""Steps that `dissect patch`, `restore` and `attribute` share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.cli.arguments import options, outputs, values
from dissect.cli.arguments.say import say
from dissect.distributed import is_main
from dissect.errors import DissectError
from dissect.jobs.task import task_of

if TYPE_CHECKING:
    from dissect.models.pair import ModelPair
    from dissect.sweep.results.sweep_result import SweepResult
    from dissect.undoing.change import Change


def run(
    sweep: Callable[[], Callable[..., "SweepResult"]],
    what: dict[str, Any],
    base: str,
    unlearned: str,
    facts: str,
    out: Path,
    *,
    sweeping: options.SweepOptions,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Check, load, ask, sweep, save, and say where the recovery peaks.

    With ``--quantise`` the models are rounded once the prompts are made, so that answers of the base model's own are
    the same with and without it.

    Args:
        sweep: gives ``dissect.patch`` or ``dissect.restore``, when it is time to import it.
        what: arguments that only this kind of sweep takes.
        base, unlearned, facts, out: from the command line.
        sweeping, prompting, running: options.

    Raises:
        DissectError: whatever was wrong with what the user gave, as much of it as possible before a model is loaded.
    """
    # Whether it may write the result is asked by the one who will.
    merges = task_of(sweeping.task).merges and not (sweeping.shard and not is_main())
    outputs.check_file(out, ".nc", overwrite=sweeping.overwrite or not merges)
    layers = values.numbered(sweeping.layers, "--layers")
    metrics = values.listed(sweeping.metrics, "--metrics")
    read = prompting.facts(facts)
    running.start()
    _check_early(sweeping, metrics)
    if "retrained" not in (sweeping.donor, sweeping.recipient):
        check_twice(base, unlearned)

    from dissect.models.pair import load_pair

    with options.placed(running, sweeping.shard) as where:
        pair = load_pair(
            base,
            unlearned,
            retrained=sweeping.retrained,
            adapter_base=sweeping.adapter_base,
            allow_extra_rows=sweeping.allow_extra_rows,
            sequential=sweeping.sequential,
            progress=running.progress,
            **where,
        )
        if prompting.answers == "base":
            pair.wake(pair.base)  # it is asked what it would say
        prompts = prompting.prompts(read, pair.base, batch_size=sweeping.batch_size, progress=running.progress)
        arguments: dict[str, Any] = {
            "window": sweeping.window,
            "layers": layers,
            "donor": sweeping.donor,
            "recipient": sweeping.recipient,
            "metrics": metrics,
            "scoring": sweeping.scoring,
            "batch_size": sweeping.batch_size,
            "seed": running.seed,
            "out": out,
            "task": sweeping.task,
            "overwrite": sweeping.overwrite,
        }
        with _quantised(pair, sweeping.quantise):
            result = sweep()(pair, prompts, **what, **arguments, progress=running.progress)
    if not is_main():
        return

    from dissect.cli.arguments.summary import summary

    say(summary(result, seed=running.seed))
    say(f"saved {out}")


def _check_early(sweeping: options.SweepOptions, metrics: list[str]) -> None:
    """Check what needs no model before one is loaded, which may take minutes."""
    from dissect.metrics import metric
    from dissect.sweep.grid import windows

    windows([0], sweeping.window, 1)
    for name in metrics:
        metric.get(name)
    check_roles(sweeping.donor, sweeping.recipient, sweeping.retrained)
    if sweeping.quantise is not None and sweeping.sequential:
        raise DissectError(f"--quantise {sweeping.quantise} needs all models in memory: leave --sequential out")


def _quantised(pair: "ModelPair", format: str | None) -> "Change[None]":
    """All models of the pair rounded, if that was asked for."""
    from dissect.models.changing.quantised import quantised
    from dissect.undoing.change import together

    models = [model for model in (pair.base, pair.unlearned, pair.retrained) if model is not None]
    return together(quantised(model, format) for model in models if format is not None)


def check_roles(donor: str, recipient: str, retrained: str | None) -> None:
    """Two different models, both of which there are.

    Raises:
        DissectError: one model in both roles, where nothing can change; or no retrained model.
    """
    if donor == recipient:
        other = next(role for role in ("base", "unlearned") if role != donor)
        raise DissectError(
            f"--donor and --recipient are both {donor}, so nothing can change: name another (--recipient {other})"
        )
    for option, role in (("--donor", donor), ("--recipient", recipient)):
        if role == "retrained" and retrained is None:
            raise DissectError(f"{option} retrained needs that model: add --retrained DIR")


def check_twice(base: str, unlearned: str) -> None:
    """Refuse one directory given twice before it is loaded; a copy of it is noticed by its weights.

    Raises:
        DissectError: BASE is UNLEARNED.
    """
    if base == unlearned or (Path(base).exists() and Path(base).resolve() == Path(unlearned).resolve()):
        raise DissectError(
            f"BASE and UNLEARNED are both {base}, so there is nothing to recover: give the checkpoints before and "
            "after unlearning"
        )
