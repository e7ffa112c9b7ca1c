"""Section on where the knowledge comes back: the four curves, and their limits."""

from typing import Any

from dissect import plots
from dissect.autopsy.page import Details, Drawing, Section, Table
from dissect.autopsy.results import Results
from dissect.autopsy.sections.absent import absent, drawn
from dissect.plots.labels import component as label
from dissect.plots.labels import split_control
from dissect.sweep.results.join import concat
from dissect.sweep.results.peaks import peaks
from dissect.sweep.results.sweep_result import SweepResult

THE_PAPERS = ("mlp_post", "attn_out", "mlp_post+attn_out", "mlp.W_out")
"""Coefficients, attention states, both, value vectors: the four curves of Hong et al. (2024)."""
_CAUTION = (
    "High recovery from the coefficients or attention states of late layers proves nothing by itself: they come from a "
    "run of the base model and carry the answer that it has already computed, whatever the unlearned model holds. The "
    "thin curves are swaps that carry nothing of this answer: the unlearned model's own activations (identity, exactly "
    "0), the base model's on another prompt (shuffled), those of a model never trained on the facts (retrained), "
    "noise of the same norm (random noise); for parameters as many other layers (random layers) and a change of the "
    "same size in a random direction (noise). A curve says something where it stands above these, before the last "
    "third of the layers. The curve named single layers does carry the answer: it is the same swap in the centre layer "
    "alone, without its neighbours."
)


def curves(results: Results) -> Section:
    """Four curves, their peaks, a panel for each with its controls."""
    heading = "Where the knowledge comes back"
    joined = together(results)
    if joined is None:
        return Section(heading, [absent(results, "activations", "The sweeps")])
    shown = [name for name in THE_PAPERS if name in names_of(joined)]
    main = SweepResult(joined.data.sel(component=shown))
    words = (
        f"Parts of the base model are put into the unlearned one, {results.about['window']} layers at a time. Recovery "
        "(KRS) is 1 where the base model's logits are back at the positions that predict the answer, 0 where nothing "
        "changed, negative where they are further away."
    )
    rows = [(label(p.component), f"{p.mean:.3f}", p.interval, p.place, f"{p.overall:.3f}") for p in peaks(main.ci())]
    table = Table(("put back", "highest mean", "95% interval", "at", "mean over layers"), rows)
    parts: list[Any] = [words, drawn(lambda: plots.curves(main), "Recovery over centre layers."), _CAUTION, table]
    controlled = [
        of for of in shown if any(split_control(n)[0] == of and split_control(n)[1] for n in names_of(joined))
    ]
    drawings = [_controlled(joined, of) for of in controlled]
    if drawings:
        parts.append(Details("Each curve beside its controls", drawings))
    return Section(heading, parts)


def _controlled(joined: SweepResult, of: str) -> Drawing | str:
    """One component beside its controls."""
    components = [name for name in names_of(joined) if split_control(name)[0] == of]
    return drawn(lambda: plots.curves(joined, component=components, title=label(of)), f"{label(of)} and its controls.")


def together(results: Results) -> SweepResult | None:
    """Activation and parameter sweeps as one, or the one that there is."""
    sweeps = [sweep for sweep in (results.activations, results.parameters) if sweep is not None]
    return concat(*sweeps) if sweeps else None


def names_of(result: SweepResult) -> list[str]:
    """The components of a sweep."""
    return [str(name) for name in result.data["component"].values]
