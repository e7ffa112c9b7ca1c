"""Is the panel's p uniform where nothing is known? Worlds in which the answers were dealt to other people.

The matrices of an attack are the same whatever the key is (tests/attacks/test_blind.py shows it to the bit), so one
never-knowing model and its matrices stand for as many worlds as there are dealings. Attacks that learn from forget
facts of other folds are left out: with the key their training would change too.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.truths import facts_of, open_truth
from benchmarks.truths.record import read_record
from dissect.attacks.attack import Target, available, budgets
from dissect.data.facts import Facts
from dissect.pairing.choice import compare
from dissect.pairing.redealing import redeal
from dissect.pairing.tested import paired
from dissect.verdicts.lines import STATISTIC
from dissect.verdicts.retain_to_learn import retain_to_learn


def p_of_worlds(population: Path, name: str, worlds: int, *, redealings: int = 1999, seed: int = 0) -> np.ndarray:
    """The smallest adjusted p of the panel in each of ``worlds`` dealings of the answers."""
    facts = facts_of(population, read_record(population, name))
    forget = facts["forget"]
    tested = paired(forget)
    retain, _ = retain_to_learn(Facts([*facts["retain"], *facts["retain_seen"]]), forget, tested, "subject")
    attacks = {key: attack for key, attack in available().items() if "others" not in key}
    merged = budgets(attacks.values(), {})
    target = Target(open_truth(population, name), tested.sheets, retain, forget, tested.folds, progress=False)
    tables: list[list[np.ndarray]] = [[] for _ in tested.blocks]
    for key, attack in attacks.items():
        for number, (matrix, block) in enumerate(zip(attack.run(target, **merged[key]), tested.blocks, strict=True)):
            tables[number].append(compare(matrix, block).of(STATISTIC))
    stacked = [np.stack(table) for table in tables]
    dealt = np.concatenate(list(tested.dealing.draws(worlds, seed=seed + 1000)))
    return np.array(
        [redeal(stacked, replace(tested.dealing, truth=slots), n=redealings, seed=seed).p_panel for slots in dealt]
    )


def said(name: str, p: np.ndarray) -> str:
    """A sentence."""
    shares = ", ".join(f"{(p < level).mean():.3f} below {level:g}" for level in (0.01, 0.05, 0.1, 0.5))
    return f"{name}: adjusted p of the panel in {len(p)} re-dealt worlds: {shares}."
