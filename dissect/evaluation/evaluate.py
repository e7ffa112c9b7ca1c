"""Measuring one or many checkpoints in one call."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.data.render import DEFAULT_TEMPLATE, check_template
from dissect.errors import DissectError, near_miss
from dissect.evaluation.measuring import measured
from dissect.evaluation.partial import Partial
from dissect.evaluation.result import Evaluation, joined
from dissect.evaluation.sets import answered, fact_sets, fingerprint, with_derived
from dissect.evaluation.sources import Source, named, place, signature
from dissect.evaluation.tools import tools
from dissect.metrics import measure as catalogue
from dissect.metrics.measure import FAMILIES, Measure
from dissect.metrics.subject import Settings, Subject
from dissect.models.comparable import check_comparable
from dissect.models.load import load
from dissect.provenance import versions

BASE, RETRAINED = "base", "retrained"
"""What the models in these roles are called in results."""


def evaluate(
    models: Any,
    *,
    forget: Any,
    retain: Any = None,
    unrelated: Any = None,
    texts: Any = None,
    nonmembers: Any = None,
    sets: Mapping[str, Any] | None = None,
    base: Any = None,
    retain_model: Any = None,
    measures: Any = None,
    options: Mapping[str, Any] | None = None,
    answers: str = "gold",
    template: str = DEFAULT_TEMPLATE,
    max_new_tokens: int = 40,
    n_examples: int = 8,
    dtype: str = "float32",
    device: str | None = None,
    batch_size: int = 32,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Measure what checkpoints still say, have by heart, hold in their states, and give back under attack.

    Checkpoints are loaded one after another beside the base and the retrained model, which are measured too. A measure
    that is not defined for what was given is refused by name, and the others run. With ``out``, an evaluation that was
    interrupted goes on with the checkpoints that are missing when it is called again.

    Args:
        models: a directory, hub id or loaded model; several of them; or a mapping from names.
        forget: what was to be forgotten.
        retain: what was to be kept; best facts that no retain loss saw.
        unrelated: facts that have nothing to do with either.
        texts: plain texts, for perplexity.
        nonmembers: facts like the forgotten ones that no model ever saw, for membership inference.
        sets: further sets by name, also ``paraphrased`` and ``held_out`` in place of those that are made of the
            forget facts' own ``paraphrases`` and ``held_out``.
        base: the checkpoint before unlearning, with which many measures compare.
        retain_model: one trained without the forget facts, for UDS, forget quality and the control of relearning.
        measures: names of measures or of families (behaviour, memorisation, depth, robustness), or ``all``. By default
            all but those that train something; see ``dissect.metrics.measure.available()``.
        options: what single measures are told, for instance ``{"uds.tau": 0.05}``.
        answers: ``gold`` for the answers of the facts, ``base`` for the base model's own greedy ones in their place.
        template: for questions.
        max_new_tokens: of a greedy answer.
        n_examples: answers of each set that are kept to be read.
        dtype, device, batch_size, seed, progress: as everywhere.
        out: a ``.json`` file to write.
        overwrite: replace it.

    Raises:
        DissectError: a measure, set or checkpoint that does not exist, checkpoints that cannot be compared, or an
            ``out`` that is taken; before anything is measured.
    """
    chosen = chosen_measures(measures)
    check_template(template)
    given = {"forget": forget, "retain": retain, "unrelated": unrelated, "texts": texts, "nonmembers": nonmembers}
    asked = fact_sets(given | dict(sets or {}))
    if answers not in ("gold", "base"):
        raise DissectError(f"answers must be gold or base, got {answers!r}")
    if answers == "base" and base is None:
        raise DissectError("answers='base' are those of the base model, and none was given: pass base=...")
    destination = _checked(out, overwrite)
    settings = Settings(
        template=template,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
        options=dict(options or {}),
    )
    _check_options(settings.options, chosen)
    roles: dict[str, Source | None] = {BASE: base, RETRAINED: retain_model}
    everyone = {name: source for name, source in roles.items() if source is not None}
    # in a list the base model is not measured twice; who gives a name means it
    named_by_hand = isinstance(models, Mapping)
    taken = set() if named_by_hand else {place(source) for source in everyone.values()} - {None}
    others = {name: source for name, source in named(models).items() if place(source) not in taken}
    if twice := set(others) & set(everyone):
        raise DissectError(f"{sorted(twice)[0]!r} is the name of a role: give the checkpoint another, in a mapping")
    spec = {
        "sets": {name: {"n": len(facts), "fingerprint": fingerprint(facts)} for name, facts in asked.items()},
        "measures": [m.name for m in chosen],
        "answers": answers,
        "template": template,
        "max_new_tokens": max_new_tokens,
        "n_examples": n_examples,
        "options": dict(settings.options),
        "dtype": dtype,
        "seed": seed,
        "versions": versions(),
        "roles": {name: place(source) for name, source in everyone.items()},
    }
    partial = None if destination is None else Partial(destination, spec)
    cast = _Cast(everyone, asked, settings, dtype, device, answers)
    parts = []
    for name, source in (everyone | others).items():
        mark = signature(source)
        part = None if partial is None else partial.get(name, mark)
        if part is None:
            subject = cast.subject(name, source)
            about = _about(subject.model, name, role=name if name in everyone else None)
            part = measured(subject, chosen, about=about, spec=spec, n_examples=n_examples)
            if partial is not None:
                partial.put(name, mark, part)
        parts.append(part)
    found = joined(parts)
    if destination is not None and partial is not None:
        found.save(destination)
        partial.remove()
    return found


class _Cast:
    """Loads checkpoints as they are needed; base and retrained model stay, the others come and go."""

    def __init__(
        self,
        roles: Mapping[str, Source],
        sets: Mapping[str, Facts],
        settings: Settings,
        dtype: str,
        device: str | None,
        answers: str,
    ) -> None:
        self.roles, self.settings, self.dtype, self.device = roles, settings, dtype, device
        self._given, self._answers = sets, answers
        self._sets: dict[str, Facts] | None = None
        self._stay: dict[str, Subject] = {}

    def sets(self, model: HookedTransformer) -> dict[str, Facts]:
        """What everybody is asked; ``model`` is the first that was loaded, the base model if there is one."""
        if self._sets is None:
            found = dict(self._given)
            if self._answers == "base":
                asking = self.settings
                how = {k: getattr(asking, k) for k in ("template", "max_new_tokens", "batch_size")}
                found = {name: answered(facts, model, **how) for name, facts in found.items()}
            self._sets = with_derived(found)
        return self._sets

    def subject(self, name: str, source: Source) -> Subject:
        """A checkpoint, with base and retrained model beside it where there are."""
        base, retained = self._role(BASE), self._role(RETRAINED)
        if name in self._stay:  # by now
            return self._stay[name]
        model = self._load(source)
        if base is not None:
            check_comparable(base.model, model, f"base and {name}")
        return Subject(
            model, self.sets(model), name=name, settings=self.settings, base=base, retain=retained, tools=tools()
        )

    def _role(self, role: str) -> Subject | None:
        if role not in self.roles:
            return None
        if role not in self._stay:
            model = self._load(self.roles[role])
            if role == RETRAINED and BASE in self._stay:
                check_comparable(self._stay[BASE].model, model, "base and retrained")
            self._stay[role] = Subject(model, self.sets(model), name=role, settings=self.settings, tools=tools())
            for holder in self._stay.values():
                holder.play(base=self._stay.get(BASE), retain=self._stay.get(RETRAINED))
        return self._stay[role]

    def _load(self, source: Source) -> HookedTransformer:
        if isinstance(source, HookedTransformer):
            return source
        return load(source, dtype=self.dtype, device=self.device, progress=self.settings.progress)


def chosen_measures(asked: Any) -> list[Measure]:
    """Measures by name or family.

    Raises:
        DissectError: neither a measure nor a family.
    """
    known = catalogue.available()
    if asked is None:
        return [measure for measure in known.values() if not measure.slow]
    names = [asked] if isinstance(asked, str) else list(asked) if isinstance(asked, Iterable) else [str(asked)]
    if not names:
        raise DissectError("no measures asked for: name some, or leave measures out")
    found: dict[str, Measure] = {}
    for name in names:
        if name == "all":
            found |= known
        elif name in FAMILIES:
            found |= {m.name: m for m in known.values() if m.family == name and not m.slow}
        elif name in known:
            found[name] = known[name]
        else:
            every = [*FAMILIES, "all", *known]
            raise DissectError(f"no measure {name!r}{near_miss(str(name), every)}: choose from {', '.join(every)}")
    return [measure for measure in known.values() if measure.name in found]


def _check_options(options: Mapping[str, Any], chosen: Iterable[Measure]) -> None:
    for name in options:
        owner = name.partition(".")[0]
        # measures that share a name's beginning share its options: logit_lens.k is of logit_lens_rank and its kin
        known = [name for name in catalogue.available() if name == owner or name.startswith(f"{owner}_")]
        if "." not in name or not known:
            raise DissectError(f"option {name!r} belongs to no measure: write it as measure.option, such as uds.tau")


def _checked(out: Any, overwrite: bool) -> Path | None:
    if out is None:
        return None
    path = Path(out)
    if path.suffix.lower() != ".json":
        raise DissectError(f"an evaluation is written as JSON, got {path.name!r}: use a name that ends in .json")
    if path.exists() and not overwrite:
        raise DissectError(f"{path} exists: choose another name or ask for overwriting")
    return path


def _about(model: HookedTransformer, name: str, *, role: str | None) -> dict[str, Any]:
    info = getattr(model, "checkpoint", None)
    found: dict[str, Any] = {} if info is None else {"path": str(info.path), "fingerprint": info.fingerprint}
    return found if role is None else found | {"role": role}
