"""Tables in Markdown of all that was judged."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.verdicts import scores
from benchmarks.verdicts.judging import Judged
from dissect.verdicts.lines import ALPHA

VERDICT = "share left (verdict)"


def page(judged: Sequence[Judged], chosen_on: Sequence[Judged] = ()) -> str:
    """All tables.

    Args:
        judged: what is tested on.
        chosen_on: where lines of other measures than the verdict are chosen; by default where they are tested, which
            flatters them.
    """
    parts = [_words(judged), _errors(judged), _measures(judged, chosen_on or judged), _share(judged), _missed(judged)]
    return "\n\n".join(parts)


def _words(judged: Sequence[Judged]) -> str:
    exact = [each for each in judged if each.record.exact]
    seeds = ", ".join(map(str, sorted({each.seed for each in judged})))
    seconds = [each.seconds["verdict"] for each in judged]
    return (
        f"World seeds {seeds}: {len(judged)} models, {len(exact)} of them with a truth that holds by construction; "
        f"{np.median(seconds):.0f} s of processor time a verdict (median).\n\n"
        f"{_table(scores.confusion(exact).reset_index())}\n\n"
        f"Balanced accuracy of the word {scores.balanced_by_word(exact):.3f}, of left or gone "
        f"{scores.balanced_left_or_gone(exact):.3f}; coverage {scores.coverage(exact):.3f}."
    )


def _errors(judged: Sequence[Judged]) -> str:
    exact = [each for each in judged if each.record.exact]
    lost = [each for each in exact if each.record.label in scores.LEFT and each.verdict.verdict == "erased"]
    gone = [each for each in exact if each.record.label in scores.GONE]
    never = [each for each in gone if each.record.label == "never"]
    after = [each for each in never if "then unlearned" in each.record.family]
    found = [each for each in gone if each.verdict.p_adjusted < ALPHA]
    p = np.array([each.verdict.p_adjusted for each in never if each not in after])
    low = int((p < 0.05).sum())
    return (
        f"Called erased though left: {len(lost)}. Adjusted p below {ALPHA:g} though nothing is left: {len(found)} of "
        f"{len(gone)} ({sum(each in after for each in found)} of the {len(after)} that never knew and were then "
        f"unlearned). Adjusted p below 0.05 among the {len(p)} that never knew and were left alone: {low}."
    )


def _measures(judged: Sequence[Judged], chosen_on: Sequence[Judged]) -> str:
    known = scores.scores_of(scores.primary(judged))
    rows = []
    for name, score in known.items():
        kept = scores.measured_by(judged, name)
        area = scores.auc(kept, score, known[VERDICT])
        line = scores.line_of(name, scores.measured_by(chosen_on, name) or kept, score)
        rows.append(
            {
                "measure": name,
                "models": len(scores.primary(kept)),
                "AUC": f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})",
                "suppressed alone": f"{area.suppressed:.3f}",
                "worst stratum": f"{area.worst:.3f} ({area.stratum})",
                "verdict less this": ""
                if name == VERDICT
                else f"{area.difference:.3f} ({area.difference_low:.3f} to {area.difference_high:.3f})",
                "balanced accuracy": f"{scores.at_line(kept, score, line):.3f}",
                "risk at 50, 80, 100 %": ", ".join(f"{scores.risk(kept, score, line, c):.3f}" for c in (0.5, 0.8, 1)),
            }
        )
    return _table(pd.DataFrame(rows))


def _share(judged: Sequence[Judged]) -> str:
    found = scores.dose_error(judged)
    lines = [
        f"Share left against the dose, {found['models']} models: rank correlation {found['rank correlation']:.3f}, "
        f"mean distance {found['mean distance']:.3f}."
    ]
    known = scores.scores_of(scores.primary(judged))
    shares = {name: score for name, score in scores.share_scores().items() if name in known}
    brier = {name: scores.brier(scores.measured_by(judged, name), score) for name, score in shares.items()}
    lines.append("Brier score: " + ", ".join(f"{name} {value:.3f}" for name, value in brier.items()) + ".")
    lines.append("")
    lines.append(_table(scores.calibration(judged)))
    return "\n".join(lines)


def _missed(judged: Sequence[Judged]) -> str:
    rows = [
        {
            "seed": each.seed,
            "model": each.record.name,
            "truth": each.record.label,
            "word": each.verdict.verdict,
            "share left": f"{each.verdict.share_left.value:.2f}",
            "adjusted p": f"{each.verdict.p_adjusted:.4f}",
            "why": each.verdict.headline,
        }
        for each in scores.missed(judged)
    ]
    return _table(pd.DataFrame(rows)) if rows else "No model got another word than it should."


def _table(table: pd.DataFrame) -> str:
    """Markdown."""
    shown = table.map(lambda cell: f"{cell:.3f}" if isinstance(cell, float) else str(cell))
    rows = [list(map(str, shown.columns)), ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
