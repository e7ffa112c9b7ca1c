"""Where the change sits, in two or three sentences."""

from math import isfinite

from dissect.autopsy.page import Section
from dissect.autopsy.results import Results
from dissect.autopsy.sections.curves import names_of
from dissect.plots.labels import component as label
from dissect.plots.labels import split_control
from dissect.sweep.results.peaks import peaks
from dissect.sweep.results.sweep_result import SweepResult


def in_short(results: Results, place: str) -> Section | None:
    """The window of parameters that brings most back, and ``place``; None where nothing says where."""
    sentences = [sentence for sentence in (_window(results), place) if sentence]
    return Section("In short", [" ".join(sentences)]) if sentences else None


def _window(results: Results) -> str:
    if results.parameters is None:
        return ""
    plain = [name for name in names_of(results.parameters) if not split_control(name)[1]]
    found = peaks(SweepResult(results.parameters.data.sel(component=plain)).ci())
    best = max((peak for peak in found if isfinite(peak.mean)), key=lambda peak: peak.mean, default=None)
    if best is None:
        return ""
    return (
        f"Of the base model's weights put back {results.about['window']} layers at a time, {label(best.component)} "
        f"around {best.place} brings back most: a recovery of {best.mean:.2f}, where 1 is all of its behaviour."
    )
