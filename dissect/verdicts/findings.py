"""From score matrices to numbers: forced choice, share left, exact tests, power."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite, nan

import numpy as np
from jaxtyping import Float

from dissect.attacks.attack import Attack
from dissect.pairing.choice import Compared, compare, of_truth
from dissect.pairing.power import Tables, power
from dissect.pairing.redealing import REDEALINGS, Redealt, redeal
from dissect.pairing.tested import Tested
from dissect.statistics.bootstrap import mean_interval, of_sums
from dissect.statistics.wilson import edge_interval
from dissect.verdicts.interval import Interval
from dissect.verdicts.lines import ALPHA, LEVEL, POWER, SHARE, STATISTIC, UPPER

AS_ASKED = "as_asked"
"""The attack that is none."""
Matrices = Sequence[Float[np.ndarray, "_ _"]]


@dataclass(frozen=True)
class Reading:
    """The knowledge that one attack brought back."""

    name: str
    label: str
    trains: bool
    """True for an attack that trains the model: only such ones undo what unlearning has written into the weights."""
    seen: str
    choice: Interval
    """Forced choice: one half is chance."""
    z: float
    p: float
    """One-sided, exact, for this attack alone."""
    p_adjusted: float
    """For the whole panel."""
    share: Interval
    """Share left of what the base model knows."""
    upper: float
    """One-sided upper bound on the share."""
    beyond_guessing: bool
    """True where it is surely more than the retrained model guesses, where that one is at chance, and without one."""
    items: Float[np.ndarray, " row"]
    """Forced choice of each tested fact."""

    @property
    def significant(self) -> bool:
        """True where it found knowledge, by the panel's level."""
        return self.p_adjusted < ALPHA and self.beyond_guessing


@dataclass(frozen=True)
class Findings:
    """A panel's numbers."""

    readings: tuple[Reading, ...]
    not_possible: Mapping[str, str]
    """By attack, why it was not made."""
    p_adjusted: float
    """The smallest of the panel."""
    power: float
    """Probability of finding a share at the line at the panel's level, by the attack that makes it highest."""
    enough: float
    """Facts of this kind that would be enough to find it, and to bound what is not found; infinite where none are."""
    avoidance: float
    """Adjusted p of avoiding the right answers."""
    avoiding: Reading | None
    """The reading that avoids most."""
    guessing: bool
    """True where the retrained model's guesses were taken off."""

    @property
    def found(self) -> tuple[Reading, ...]:
        """Those that found knowledge."""
        return tuple(reading for reading in self.readings if reading.significant)

    @property
    def largest(self) -> Reading | None:
        """The reading with the largest share left, among those that found knowledge if there are any."""
        return max(self.found or self.readings, key=lambda reading: reading.share.value, default=None)

    def reading(self, name: str) -> Reading | None:
        """That of an attack; None if it was not made."""
        return next((reading for reading in self.readings if reading.name == name), None)


@dataclass(frozen=True)
class Panel:
    """Matrices of the attacks on one checkpoint, compared; made once, read in the light of several others."""

    tested: Tested
    attacks: tuple[Attack, ...]
    compared: tuple[tuple[Compared, ...], ...]
    """By attack and block."""
    not_possible: Mapping[str, str]
    items: Mapping[str, Float[np.ndarray, " row"]]
    """By attack, forced choice of each row."""

    @classmethod
    def of(cls, tested: Tested, attacks: Sequence[Attack], results: Mapping[str, Matrices | str]) -> "Panel":
        """Compare what attacks gave; a sentence stands for one that could not be made."""
        made = [attack for attack in attacks if not isinstance(results[attack.name], str)]
        compared = tuple(
            tuple(compare(scores, block) for scores, block in zip(results[attack.name], tested.blocks, strict=True))  # type: ignore[arg-type]
            for attack in made
        )
        items = {
            attack.name: np.concatenate(
                [of_truth(each.below, block) for each, block in zip(own, tested.blocks, strict=True)]
            )
            for attack, own in zip(made, compared, strict=True)
        }
        refused = {name: words for name, words in results.items() if isinstance(words, str)}
        return cls(tested, tuple(made), compared, refused, items)

    def redealt(self, *, seed: int = 0) -> Redealt:
        """The exact test of all attacks."""
        numbers = range(len(self.tested.blocks))
        tables = [np.stack([each[number].of(STATISTIC) for each in self.compared]) for number in numbers]
        return redeal(tables, self.tested.dealing, n=REDEALINGS, seed=seed)

    def table(self, name: str) -> Tables | None:
        """Values that the test adds up after an attack; None where it was not made."""
        for attack, compared in zip(self.attacks, self.compared, strict=True):
            if attack.name == name:
                return [each.of(STATISTIC) for each in compared]
        return None


def findings(panel: Panel, base: Panel, retrained: Panel | None = None, *, seed: int = 0) -> Findings:
    """Read a panel.

    Args:
        panel: of the checkpoint.
        base: of the base model, as asked.
        retrained: the panel of a model that never knew; its guesses are taken off where they are above chance.
        seed: of re-dealings and draws.
    """
    if not panel.attacks:
        return Findings((), panel.not_possible, nan, 0.0, inf, nan, None, False)
    left, guesses = panel.redealt(seed=seed), _guesses(retrained, seed)
    readings = []
    for number, attack in enumerate(panel.attacks):
        guessed = guesses.get(attack.name) if guesses else None
        readings.append(_reading(panel, attack, number, left, base.items[AS_ASKED], guessed, seed))
    strength, factor = _power(panel, base, left.critical(ALPHA), seed)
    factor = max(factor, *(_for_bound(reading) for reading in readings))
    return Findings(
        readings=tuple(readings),
        not_possible=panel.not_possible,
        p_adjusted=left.p_panel,
        power=strength,
        enough=float(ceil(factor * len(panel.tested.rows))) if isfinite(factor) else inf,
        avoidance=left.p_avoiding,
        avoiding=min(readings, key=lambda reading: reading.choice.value),
        guessing=guesses is not None,
    )


def _power(panel: Panel, base: Panel, critical: float, seed: int) -> tuple[float, float]:
    """The highest power of the attacks, and its factor.

    Attacks are gone through, the model as asked first, until one has enough: where a model was trained against its
    facts, what it says as asked varies so much that little would be seen in it, and less so in its states.
    """
    knowing = base.table(AS_ASKED)
    best = (0.0, inf)
    for name in sorted(panel.items, key=lambda name: name != AS_ASKED):
        own = panel.table(name)
        if own is None or knowing is None:
            continue
        strength, factor = power(own, knowing, panel.tested.dealing, SHARE, critical, seed=seed)
        best = max(best, (strength, factor), key=lambda found: (found[0], -found[1]))
        if strength >= POWER:
            break
    return best


def _guesses(retrained: Panel | None, seed: int) -> Mapping[str, Float[np.ndarray, " row"]] | None:
    """Forced choice of a model that never knew, where it is above chance under any attack."""
    if retrained is None or not retrained.attacks or not retrained.redealt(seed=seed).p_panel < ALPHA:
        return None
    return retrained.items


def _reading(
    panel: Panel,
    attack: Attack,
    number: int,
    left: Redealt,
    base: Float[np.ndarray, " row"],
    guessed: Float[np.ndarray, " row"] | None,
    seed: int,
) -> Reading:
    items, subjects = panel.items[attack.name], panel.tested.subjects
    floor = np.full(len(items), 0.5) if guessed is None else guessed
    valid = np.isfinite(items) & np.isfinite(floor) & np.isfinite(base)
    columns = np.stack([items - floor, base - floor], axis=1)[valid]
    groups = subjects[valid]

    def ends(level: float) -> tuple[float, float]:
        return of_sums(columns, _ratio, groups=groups, level=level, seed=seed)

    total = columns.sum(axis=0)
    share = float(total[0] / total[1]) if total[1] > 0 else nan
    beyond = True
    if guessed is not None:
        low, _ = of_sums(
            np.stack([columns[:, 0], np.ones(len(columns))], axis=1), _ratio, groups=groups, level=1 - 2 * ALPHA
        )
        beyond = low > 0
    finite = np.isfinite(items)
    chosen, of = items[finite], subjects[finite]
    ends_of_choice = edge_interval(chosen, groups=of) or mean_interval(chosen, of, seed=seed)
    choice = Interval(float(chosen.mean()), *ends_of_choice)
    return Reading(
        name=attack.name,
        label=attack.label,
        trains=attack.trains,
        seen=attack.seen,
        choice=choice,
        z=float(left.z[number]),
        p=float(left.p[number]),
        p_adjusted=float(left.p_adjusted[number]),
        share=Interval(share, *ends(LEVEL)),
        upper=ends(2 * UPPER - 1)[1],
        beyond_guessing=beyond,
        items=items,
    )


def _for_bound(reading: Reading) -> float:
    """How many times the facts would bring the upper bound of a share below the line, if the share stayed."""
    gap, width = SHARE - reading.share.value, reading.upper - reading.share.value
    if not isfinite(width) or reading.upper < SHARE:
        return 0.0
    return (width / gap) ** 2 if gap > 0 else 0.0


def _ratio(sums: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "..."]:
    return sums[..., 0] / sums[..., 1]
