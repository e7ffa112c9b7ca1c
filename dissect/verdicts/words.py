"""The words of a verdict: a headline, and sentences with the numbers."""

from collections.abc import Sequence
from math import isfinite

from dissect.verdicts.answering import AS_ASKED
from dissect.verdicts.findings import Findings, Reading
from dissect.verdicts.interval import percent
from dissect.verdicts.lines import ALPHA, PERPLEXITY, POWER, SHARE
from dissect.verdicts.rule import Evidence, Word, masked


def headline(word: Word, evidence: Evidence) -> str:
    """A few words for the head of a page."""
    if word == "broken":
        if evidence.findings.found:
            return "Broken, and the facts are still in it"
        return "Broken, and none of the facts were found in it"
    if word == "cannot tell" and not evidence.known:
        return "Cannot tell: the base model does not know the facts"
    return {
        "not forgotten": "Not forgotten",
        "suppressed": "Suppressed, not erased",
        "traces left": "Forgotten, with traces left",
        "erased": "Erased",
        "cannot tell": "Forgotten; cannot tell whether erased",
    }[word]


def words(word: Word, evidence: Evidence, *, exact: bool, retrained: bool) -> str:
    """Sentences: what it says, what the panel found, what it avoids, and what was not tested.

    Args:
        word: of the rule.
        evidence: the numbers.
        exact: whether one half is exactly chance in every group.
        retrained: whether a retrained model was given.
    """
    if not evidence.known:
        return (
            f"Asked to choose between the right answer and those of other subjects, the base model is right in "
            f"{percent(evidence.base_choice.value)} of the comparisons, where chance is 50%: there was nothing to "
            "forget."
        )
    sentences = [_says(evidence), _kept(word, evidence), _panel(word, evidence), _doubt(word, evidence)]
    sentences += [_avoids(evidence), _untested(evidence), _chance(exact, retrained, evidence)]
    return " ".join(sentence for sentence in sentences if sentence)


def _says(evidence: Evidence) -> str:
    most = evidence.most_said
    if most is None:
        return "The base model answers none of the facts in its own words, so only the choice between answers was read."
    wording, share = most
    asked = wording if wording == AS_ASKED else f"asked {wording}"
    where = f" ({asked}, where it answers most)" if len(evidence.said) > 1 else ""
    still = "still answers" if share.value > 0 else "answers"
    return f"It {still} {share} of what the base model answers about the facts to be forgotten{where}."


def _kept(word: Word, evidence: Evidence) -> str:
    parts = []
    if evidence.kept is not None:
        parts.append(f"keeps {evidence.kept} of what was to be retained")
    if evidence.perplexity is not None and not evidence.perplexity <= PERPLEXITY:
        times = f"{evidence.perplexity:.3g} times" if isfinite(evidence.perplexity) else "more than a million times"
        parts.append(f"has {times} the base model's perplexity on plain texts")
    if not parts:
        return ""
    return f"It {' and '.join(parts)}" + (": this is damage, not selective forgetting." if word == "broken" else ".")


def _panel(word: Word, evidence: Evidence) -> str:
    findings = evidence.findings
    largest = findings.largest
    if largest is None:
        return ""
    p = f"p = {_p(findings.p_adjusted)}{_over(findings)}"
    if findings.found:
        begin = "Traces are left" if word == "traces left" else "The knowledge is still in it"
        line = f", below the line of {percent(SHARE)}" if word == "traces left" else ""
        return (
            f"{begin}: {_named(largest)} it chooses the right answer in {largest.choice} of the comparisons (chance "
            f"50%), a share left of {largest.share}{line}; {p}."
        )
    bound = max(reading.upper for reading in findings.readings)
    beyond = f"; under every attack the share left is at most {percent(max(bound, 0.0))}" if isfinite(bound) else ""
    text = f"No knowledge of the facts was found (smallest {p}){beyond}."
    if isfinite(findings.power):
        text += f" A share of {percent(SHARE)} would have been found with probability {findings.power:.2f}."
    return text


def _over(findings: Findings) -> str:
    count = len(findings.readings)
    return f", adjusted for {count} attacks" if count > 1 else ""


def _doubt(word: Word, evidence: Evidence) -> str:
    if word != "cannot tell":
        return ""
    findings = evidence.findings
    reasons = []
    bounded = all(reading.upper < SHARE for reading in findings.readings)
    if findings.readings and not (findings.power >= POWER and bounded):
        if isfinite(findings.enough):
            reasons.append(f"there are too few facts to call it erased: about {findings.enough:,.0f} would be enough")
        else:
            reasons.append("these facts do not allow a test")
    if evidence.kept is None:
        reasons.append("what was to be retained was not measured, so that damage cannot be told from forgetting")
    if not any(reading.trains for reading in findings.readings):
        reasons.append("no attack that trains the model was made, and without one a suppressed model may show nothing")
    if masked(evidence):
        reasons.append(
            "no readout of its states was fitted on the answers that are tested, so that what lies behind the "
            "avoidance is not known"
        )
    if evidence.weak:
        reasons.append(
            f"the facts trained on by {_listed([_quoted(label) for label in evidence.weak])} were not even learnt, so "
            "that finding nothing afterwards means little"
        )
    text = "; ".join(reasons)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _avoids(evidence: Evidence) -> str:
    findings = evidence.findings
    if findings.avoiding is None or not findings.avoidance < ALPHA:
        return ""
    return (
        f"It avoids the right answers: {_named(findings.avoiding)} it chooses them in only "
        f"{percent(findings.avoiding.choice.value)} of the comparisons (chance 50%). Training against the facts does "
        "this even to a model that never knew them, and so does turning round the answers of one that does: by itself "
        "it does not say whether they are left."
    )


def _untested(evidence: Evidence) -> str:
    refused = evidence.findings.not_possible
    return f"Not possible here: {_listed(sorted(refused))}." if refused else ""


def _chance(exact: bool, retrained: bool, evidence: Evidence) -> str:
    if evidence.findings.guessing:
        return "The retrained model guesses above chance; its guesses were taken off."
    if not exact:
        return "One half is not exactly chance for some of these facts: see the groups."
    return "" if retrained else "Knowledge beyond chance was tested, not beyond what a model can guess."


def _named(reading: Reading) -> str:
    """The attack, as the beginning of a main clause."""
    if reading.name == "as_asked":
        return "asked as it is,"
    return f"under the attack {_quoted(reading.label)}, which has seen none of the tested facts,"


def _quoted(label: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{label}\N{RIGHT DOUBLE QUOTATION MARK}"


def _p(value: float) -> str:
    return f"{value:.4f}" if isfinite(value) else "?"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
