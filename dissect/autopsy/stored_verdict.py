"""A verdict that is stored already, in place of a second run of the panel."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dissect.attacks.attack import available, budgets, chosen_attacks
from dissect.autopsy.step_inputs import StepInputs
from dissect.data.chat.chat_settings import as_chat
from dissect.differences import first_difference
from dissect.errors import DissectError
from dissect.evaluation.sets import fingerprint
from dissect.evaluation.sources import place
from dissect.verdicts.result import Verdicts

_SETS = ("forget", "retain", "texts")


def stored_verdict(inputs: StepInputs) -> Verdicts | None:
    """The verdict on this pair from the file that the report was given, or from ``verdict.json`` beside its page.

    It is taken where facts, attacks, settings, seed and checkpoints are those of the report, and no file of the
    checkpoints was written after it.

    Raises:
        DissectError: a file that was given by name and is no verdict, or one of something else.
    """
    file, named = inputs.verdict, inputs.verdict_named
    if file is None or (not named and not file.is_file()):
        return None
    try:
        return _taken(Verdicts.load(file), inputs, file)
    except DissectError as error:
        if named:
            raise DissectError(f"{file} is no verdict on this pair: {error}") from error
        return None


def _taken(verdicts: Verdicts, inputs: StepInputs, file: Path) -> Verdicts:
    """The part of the file that is about this pair.

    Raises:
        DissectError: there is none.
    """
    wanted = _wanted(inputs)
    stored = {name: verdicts.spec.get(name) for name in wanted}
    if other := first_difference(stored, wanted):
        raise DissectError(f"it was made otherwise ({other}): leave it out to run the panel")
    places = dict(verdicts.spec.get("checkpoints", {}))
    roles = {role: place(model) for role, model in inputs.pair.models().items()}
    if None in roles.values():
        raise DissectError("a model of the pair was changed since it was loaded: leave it out to run the panel")
    for role in ("base", "retrained"):
        if places.get(role) != roles.get(role):
            raise DissectError(f"its {role} model is {places.get(role)}, not {roles.get(role)}: run the panel")
    found = [each for each in verdicts if places.get(each.name) == roles["unlearned"]]
    if not found:
        raise DissectError(f"{roles['unlearned']} is none of its checkpoints: run the panel")
    written = file.stat().st_mtime
    for path in filter(None, roles.values()):
        if any(entry.stat().st_mtime > written for entry in os.scandir(path)):
            raise DissectError(f"{path} was written after it: run the panel again")
    spec = {**verdicts.spec, "checkpoints": roles}
    return replace(verdicts, checkpoints=(replace(found[0], name="unlearned"),), spec=spec)


def _wanted(inputs: StepInputs) -> Mapping[str, Any]:
    sets, settings = inputs.sets, inputs.settings
    attacks = chosen_attacks(settings.attacks)
    if all(attack.name != "as_asked" for attack in attacks):
        attacks = [available()["as_asked"], *attacks]
    chat = as_chat(settings.chat)
    wanted = {
        "sets": {
            name: {"n": len(sets[name]), "fingerprint": fingerprint(sets[name])} for name in _SETS if name in sets
        },
        "attacks": budgets(attacks, {}),
        "answers": "base" if inputs.unanswered else "gold",
        "template": settings.template,
        "chat": None if chat is None else chat.to_dict(),
        "subject": "subject",
        "n_folds": None,
        "max_new_tokens": settings.max_new_tokens,
        "dtype": str(inputs.pair.base.cfg.dtype).removeprefix("torch."),
        "seed": settings.seed,
    }
    return json.loads(json.dumps(wanted))
