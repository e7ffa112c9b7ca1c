"""Running cells into a result, for activation and parameter sweeps alike."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.distributed import is_main
from dissect.errors import DissectError
from dissect.jobs.journal import key_of
from dissect.jobs.left_journals import clear_journals
from dissect.jobs.shared_journals import journals_of, replica_of
from dissect.jobs.task import Task, task_of
from dissect.metrics import metric as metrics_by_name
from dissect.metrics.metric import Metric
from dissect.models.accounting import PROMPTS_AT_ONCE, readable
from dissect.models.origins import check_outputs
from dissect.models.pair import ModelPair
from dissect.sweep.assemble import assemble, check_names
from dissect.sweep.batch import Batch, batches, scored_positions
from dissect.sweep.cache import CacheOptions, activation_bytes, check_cache
from dissect.sweep.check_inputs import check_run
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell, check_unique
from dissect.sweep.results.sweep_result import SweepResult
from dissect.sweep.runner import owners_of, run
from dissect.undoing.change import undone_later

log = logging.getLogger(__name__)

_TOKENS_A_PASS = 1 << 14
_LOGITS_A_PASS = 1 << 28
"""Limits of cells that share a pass on a GPU: enough tokens to fill it, at most 1 GB of logits."""


@runtime_checkable
class Supply(Protocol):
    """Something that interventions take from the donor's model: activations or parameters."""

    model: HookedTransformer
    fused_attention: bool
    runs: bool
    """True if the model has to be in memory for ``hold``."""

    def hold(self, batches: Iterable[Batch]) -> None:
        """Take from the model what will be needed, so that it can be given back."""

    def release(self) -> None:
        """Give it back."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings with which any sweep is run and measured."""

    metrics: str | Metric | Sequence[str | Metric] = "krs"
    """Names of ``dissect.metrics``, or metrics of one's own."""
    scoring: str = "answer"
    """``answer`` or ``published``; see ``dissect.sweep.batch.SCORINGS``."""
    batch_size: int = PROMPTS_AT_ONCE
    """Prompts in one forward pass."""
    cells_per_pass: int | None = None
    """Cells of whole activations that run as rows of one batch. By default one on a CPU, and on a GPU as many as fill
    it; more than one changes the last bits."""
    out: str | os.PathLike[str] | None = None
    """A netCDF file for the result. Finished cells stand in ``<out>.partial`` until it is written, and a sweep that was
    interrupted goes on with the rest when it is called again. Under ``torchrun`` the ranks share the cells, each with a
    journal of its own, and all return the whole result; without ``out`` every rank computes everything."""
    task: str | None = None
    """``"3/8"``: compute the third of eight parts of the cells and nothing else, as one task of a job array. Whichever
    task comes last writes the result; the others raise ``dissect.jobs.journals.Unfinished``. Needs ``out``."""
    overwrite: bool = False
    """Replace ``out`` if it exists."""
    cache: CacheOptions = field(default_factory=CacheOptions)
    """Device, dtype or directory in which the donor's activations wait."""
    seed: int = 0
    """Random seed, for instance of the controls; stored with the result."""
    progress: bool = True


def sweep(
    pair: ModelPair,
    recipient: HookedTransformer,
    donor: Donor,
    prompts: Prompts,
    cells: Sequence[Cell],
    options: Options,
    *,
    others: Sequence[Supply] = (),
    spec: Mapping[str, Any],
) -> SweepResult:
    """Run ``cells`` on the recipient and label what comes out.

    While the pair holds one model at a time, ``donor`` and the ``others`` (further donors, parameters) that need the
    donor's model take what they need from it first, and then the recipient is woken.

    Raises:
        DissectError: a metric that does not exist, prompts that are too long, a batch size below one, the journal of
            another sweep.
    """
    metrics = metrics_of(options.metrics)
    check_names(cells, metrics)
    check_run(recipient, prompts, options.batch_size)
    if options.cells_per_pass is not None and options.cells_per_pass < 1:
        raise DissectError(f"cells_per_pass={options.cells_per_pass}: at least one cell must be in a pass")
    check_outputs({"out": options.out}, {"the pair": pair})
    task = check_out(recipient, options.out, options.task, overwrite=options.overwrite)
    scored_positions(prompts, options.scoring)
    check_cache(options.cache)
    spec = {**spec, "scoring": options.scoring, "seed": options.seed}
    # One choice for the whole sweep: the two ways of computing attention differ by rounding, and a model patched into
    # itself is to differ by nothing.
    fused = not any(cell.intervention.needs_patterns for cell in cells)
    sources: list[Supply] = [donor, *others]
    for source in sources:
        source.fused_attention = fused
    _log_memory(donor, prompts, options, whole=pair.one_at_a_time)
    with held(pair, recipient, sources, prompts, batch_size=options.batch_size, scoring=options.scoring):
        return _stored(
            recipient, donor, prompts, cells, metrics, options, spec | pair.provenance() | prompts.provenance(), task
        )


def check_out(
    recipient: HookedTransformer | None, out: str | os.PathLike[str] | None, task: str | None, *, overwrite: bool
) -> Task:
    """Return the task that this process is; the one that writes the result checks that it may.

    Raises:
        DissectError: no such task, nowhere to put its part, or a file that may not be replaced.
    """
    own = task_of(task, replica_of(recipient))
    if task is not None and out is None:
        raise DissectError(f"task={task!r} leaves its part in files beside the result: say where with out=")
    if out is not None and own.merges and Path(out).exists() and not overwrite:
        clear_journals(Path(out))
        raise DissectError(f"{out} exists: choose another name or ask for overwriting")
    return own


@undone_later
def held(
    pair: ModelPair,
    recipient: HookedTransformer,
    sources: Sequence[Supply],
    prompts: Prompts,
    *,
    batch_size: int,
    scoring: str = "answer",
) -> Iterator[None]:
    """In the body the recipient is in memory, and all sources give what they were asked for.

    While the pair holds one model at a time, those that need another model take it beforehand. The first source is the
    donor that the recipient is compared with.
    """
    try:
        if pair.one_at_a_time:
            for source in sources:
                if source.model is recipient:
                    continue
                if source.runs:
                    pair.wake(source.model)
                device = source.model.embed.W_E.device if source.runs else "cpu"
                source.hold(batches(prompts, batch_size, scoring=scoring, device=device))
            pair.wake(recipient)
        yield
    finally:
        for source in sources:
            source.release()


def _stored(
    recipient: HookedTransformer,
    donor: Donor,
    prompts: Prompts,
    cells: Sequence[Cell],
    metrics: Sequence[Metric],
    options: Options,
    spec: Mapping[str, Any],
    task: Task,
) -> SweepResult:
    """Run the cells, and write the result where the options say so."""
    n_scored = scored_positions(prompts, options.scoring).sum(1).numpy()
    sizes = {"batch_size": options.batch_size, "cells_per_pass": _cells_per_pass(recipient, prompts, options)}
    progress = options.progress and is_main()
    running: dict[str, Any] = {"scoring": options.scoring, "metrics": metrics, "progress": progress, **sizes}
    out = options.out
    if out is None:
        return assemble(cells, run(recipient, donor, prompts, cells, **running), prompts, metrics, n_scored, spec)
    key = key_of(_identity(recipient, prompts, cells, metrics, options, spec))
    with journals_of(recipient, out, key, task) as journals:
        section = journals.section(owners_of(recipient, prompts, cells, count=task.count, **sizes))
        values = run(recipient, donor, prompts, cells, journal=section, **running)
        result = assemble(cells, values, prompts, metrics, n_scored, spec)
        journals.finish(lambda: result.save(out))
    return result


def _cells_per_pass(model: HookedTransformer, prompts: Prompts, options: Options) -> int:
    """Number of cells that run side by side: one on a CPU, which a batch fills; elsewhere what a budget allows."""
    if options.cells_per_pass is not None:
        return options.cells_per_pass
    if model.embed.W_E.device.type == "cpu":
        return 1
    rows = min(options.batch_size, len(prompts))
    tokens = rows * prompts.tokens.shape[1]
    logits = int(prompts.answer_lengths.max()) * rows * model.cfg.d_vocab
    return max(1, min(_TOKENS_A_PASS // tokens, _LOGITS_A_PASS // logits))


def _log_memory(donor: Donor, prompts: Prompts, options: Options, *, whole: bool) -> None:
    kept = prompts if whole else prompts[: options.batch_size]
    log.info("the donor's cache takes %s", readable(donor_bytes(donor, kept, options)))


def donor_bytes(donor: Donor, prompts: Prompts, options: Options) -> int:
    """Bytes that a donor keeps of ``prompts``: the activations that are wanted, its logits in float32, and what its
    unembedding reads."""
    length = prompts.tokens.shape[1]
    tokens = len(prompts) * length
    activations = activation_bytes(donor.model, donor.names, tokens, length=length, dtype=options.cache.dtype)
    scored, cfg = int(scored_positions(prompts, options.scoring).sum()), donor.model.cfg
    return activations + scored * (4 * cfg.d_vocab + cfg.dtype.itemsize * cfg.d_model)


def metrics_of(names: str | Metric | Sequence[str | Metric]) -> list[Metric]:
    """Metrics by their names; those that are metrics already stay as they are.

    Raises:
        DissectError: no metric of that name, none at all, or one twice.
    """
    several = (names,) if isinstance(names, (str, Metric)) else tuple(names)
    metrics = [metrics_by_name.get(name) for name in several]
    check_unique([metric.name for metric in metrics], "metrics")
    return metrics


def _identity(
    recipient: HookedTransformer,
    prompts: Prompts,
    cells: Sequence[Cell],
    metrics: Sequence[Metric],
    options: Options,
    spec: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that must be equal for the rows of an earlier run to be rows of this one, to the bit."""
    return {
        "spec": spec,
        "prompts": prompts.fingerprint(),
        "cells": [[cell.component, cell.layer, cell.members, sorted(cell.coords.items())] for cell in cells],
        "metrics": [metric.name for metric in metrics],
        "batch_size": options.batch_size,
        "cells_per_pass": options.cells_per_pass,
        "dtype": str(recipient.cfg.dtype),
        "cache_dtype": str(options.cache.dtype),
        "device": recipient.embed.W_E.device.type,
    }
