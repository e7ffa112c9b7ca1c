"""Measuring one or many checkpoints in one call."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.render import DEFAULT_TEMPLATE, check_template
from dissect.distributed import is_main
from dissect.errors import DissectError, near_miss
from dissect.evaluation.checkpoint_loading import BASE, RETRAINED, Cast
from dissect.evaluation.evaluation_result import Evaluation, joined
from dissect.evaluation.measure_checkpoint import measured
from dissect.evaluation.options import check_options
from dissect.evaluation.sets import fact_sets, fingerprint
from dissect.evaluation.shared_evaluation import check_shared, shared
from dissect.evaluation.sources import Source, named, place
from dissect.measures import measure as catalogue
from dissect.measures.examined import Settings
from dissect.measures.measure import FAMILIES, Measure
from dissect.models.checkpoint import checkpoint_or_none
from dissect.provenance import versions


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
    task: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Measure what checkpoints still say, have by heart, hold in their states, and give back under attack.

    Checkpoints are loaded one after another beside the base and the retrained model, which are measured too. A measure
    that is not defined for what was given is refused by name, and the others run. With ``out``, an evaluation that was
    interrupted goes on with the checkpoints that are missing when it is called again, and under ``torchrun`` the ranks
    share the checkpoints and all return the whole; without ``out`` every rank measures everything.

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
            all but those that train something; see ``dissect.measures.measure.available()``.
        options: what single measures are told, for instance ``{"uds.tau": 0.05}``.
        answers: ``gold`` for the answers of the facts, ``base`` for the base model's own greedy ones in their place.
        template: for questions.
        max_new_tokens: of a greedy answer.
        n_examples: answers of each set that are kept to be read.
        dtype, device, batch_size, seed, progress: as everywhere.
        out: a ``.json`` file to write. What is finished stands in ``<out>.partial`` until it is. A directory is the
            same checkpoint while its files are, a hub id always, a loaded model while it has the same weights, and
            hooks at the same points.
        task: ``"3/8"``: measure the third of eight parts of the checkpoints alone, as one task of a job array. The task
            that comes last writes the result. Needs ``out``.
        overwrite: replace ``out``.

    Raises:
        DissectError: a measure, set or checkpoint that does not exist, checkpoints that cannot be compared, or an
            ``out`` that is taken; before anything is measured.
        Unfinished: this task of a job array has done its part, and others have not.
    """
    chosen = chosen_measures(measures)
    check_template(template)
    given = {"forget": forget, "retain": retain, "unrelated": unrelated, "texts": texts, "nonmembers": nonmembers}
    asked = fact_sets(given | dict(sets or {}))
    if answers not in ("gold", "base"):
        raise DissectError(f"answers must be gold or base, got {answers!r}")
    if answers == "base" and base is None:
        raise DissectError("answers='base' are those of the base model, and none was given: pass base=...")
    settings = Settings(
        template=template,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
        progress=progress and is_main(),
        options=dict(options or {}),
    )
    check_options(settings.options)
    asked_for = named(models)
    whose = check_shared([base, retain_model, *asked_for.values()], out, task, overwrite=overwrite)
    roles: dict[str, Source | None] = {BASE: base, RETRAINED: retain_model}
    everyone = {name: source for name, source in roles.items() if source is not None}
    # in a list the base model is not measured twice; who gives a name means it
    named_by_hand = isinstance(models, Mapping)
    taken = set() if named_by_hand else {place(source) for source in everyone.values()} - {None}
    others = {name: source for name, source in asked_for.items() if place(source) not in taken}
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
    cast, sources = Cast(everyone, asked, settings, dtype, device, answers), everyone | others

    def part(name: str) -> Evaluation:
        subject = cast.subject(name, sources[name])
        about = _about(subject.model, name, role=name if name in everyone else None)
        return measured(subject, chosen, about=about, spec=spec, n_examples=n_examples)

    if out is None:
        return joined([part(name) for name in sources])
    return shared(sources, part, out=out, spec=spec, task=whose)


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


def _about(model: HookedTransformer, name: str, *, role: str | None) -> dict[str, Any]:
    info = checkpoint_or_none(model)
    found: dict[str, Any] = {} if info is None else {"path": str(info.path), "fingerprint": info.fingerprint}
    return found if role is None else found | {"role": role}
