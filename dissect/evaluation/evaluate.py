"""Measuring one or many checkpoints in one call."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.chat.chat_settings import ChatChoice, as_chat
from dissect.data.render import DEFAULT_TEMPLATE, check_template
from dissect.distributed import is_main
from dissect.errors import DissectError, near_miss
from dissect.evaluation.checkpoint_loading import BASE, RETRAINED, CheckpointLoader
from dissect.evaluation.evaluation_result import Evaluation, joined
from dissect.evaluation.measure_checkpoint import measured
from dissect.evaluation.sets import fact_sets, fingerprint
from dissect.evaluation.shared_evaluation import check_shared, shared
from dissect.evaluation.sources import CheckpointSource, check_there, named, place
from dissect.evaluation.templates import chat_templates
from dissect.keywords import keywords
from dissect.measures import measure as catalogue
from dissect.measures.examined import Settings
from dissect.measures.measure import FAMILIES, Measure
from dissect.models.checkpoint import checkpoint_or_none
from dissect.models.origins import check_outputs
from dissect.provenance import versions


@keywords(renamed={"retain_model": "retrained"})
def evaluate(
    models: Any,
    *,
    forget: Any = None,
    retain: Any = None,
    unrelated: Any = None,
    texts: Any = None,
    nonmembers: Any = None,
    sets: Mapping[str, Any] | None = None,
    base: Any = None,
    retrained: Any = None,
    adapter_base: str | None = None,
    allow_extra_rows: bool = False,
    measures: Any = None,
    options: Mapping[str, Any] | None = None,
    answers: str = "gold",
    template: str = DEFAULT_TEMPLATE,
    chat: ChatChoice = None,
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
    """Measure what checkpoints still say, have memorised, hold in their states, and give back under attack.

    Checkpoints are loaded one after another beside the base and the retrained model, which are measured too. A measure
    that is not defined for the given models and facts is refused by name, and the others run. With ``out``, an
    interrupted evaluation continues with the missing checkpoints when it is called again, and under ``torchrun`` the
    ranks share the checkpoints and all return the whole; without ``out`` every rank measures everything.

    Args:
        models: a directory, hub id or loaded model; several of them; or a mapping from names.
        forget: facts that were to be forgotten; needed by most measures, but not by those of other sets.
        retain: facts to be retained; best those that no retain loss saw.
        unrelated: facts that have nothing to do with either.
        texts: plain texts, for perplexity.
        nonmembers: facts like the forget facts that no model ever saw, for membership inference.
        sets: further sets by name, also ``paraphrased`` and ``held_out`` in place of those made from the forget facts'
            own ``paraphrases`` and ``held_out``.
        base: the checkpoint before unlearning, with which many measures compare.
        retrained: one trained without the forget facts, for UDS, forget quality and the control of relearning.
        adapter_base: the base model of every adapter among them, instead of those that the adapters record; by default
            ``base`` takes the place of a recorded one that cannot be had.
        allow_extra_rows: where the embeddings of a checkpoint and the base model differ in their number of rows alone,
            drop the rows that not both have, in place.
        measures: names of measures or of families (behaviour, memorisation, depth, robustness), or ``all``. By default
            all but those that train something; see ``dissect.measures.measure.available()``.
        options: options of single measures, e.g. ``{"uds.tau": 0.05}``; see ``dissect.measures.measure.options()``.
        answers: ``gold`` for the answers of the facts, ``base`` for the base model's own greedy ones in their place.
        template: template for questions; in a chat, of the user's turn.
        chat: ask in the checkpoints' own chat template, as ``chat`` of ``Facts.prompts``: True, or its settings.
        max_new_tokens: longest greedy answer, in tokens.
        n_examples: number of answers of each set that are kept for reading.
        dtype, device, batch_size, seed, progress: as everywhere.
        out: a ``.json`` file to write. Finished parts are kept in ``<out>.partial`` until then. A directory counts as
            the same checkpoint as long as its files are unchanged, a hub id always, a loaded model as long as it has
            the same weights, and hooks at the same points.
        task: ``"3/8"``: measure the third of eight parts of the checkpoints, as one task of a job array. The last task
            to finish writes the result. Needs ``out``.
        overwrite: replace ``out``.

    Returns:
        every number with its interval, and what was refused; ``table()`` shows it.

    Raises:
        DissectError: a measure, set or checkpoint that does not exist, checkpoints that cannot be compared, or an
            ``out`` that is taken; before anything is measured.
        Unfinished: this task of a job array has done its part, and others have not.

    Example:
        >>> models = {"ga": "runs/demo/ga", "npo": "runs/demo/npo"}
        >>> forget = dissect.Facts.read("runs/demo/forget.jsonl")
        >>> result = dissect.evaluate(models, forget=forget, measures=["exact_match"])
        >>> result.get("npo", "exact_match", "forget").value < 0.9
        True
    """
    selected = chosen_measures(measures)
    check_template(template)
    stored = [value for name, value in (options or {}).items() if name.endswith(".stored")]
    read = [models, forget, retain, unrelated, texts, nonmembers, sets, base, retrained, adapter_base, stored]
    check_outputs({"out": out}, {"an input": read})
    named_sets = {"forget": forget, "retain": retain, "unrelated": unrelated, "texts": texts, "nonmembers": nonmembers}
    facts = fact_sets(named_sets | dict(sets or {}))
    if not facts:
        raise DissectError("there are no facts to ask about: give forget=..., or other sets in sets=...")
    if answers not in ("gold", "base"):
        raise DissectError(f"answers must be gold or base, got {answers!r}")
    if answers == "base" and base is None:
        raise DissectError("answers='base' needs the base model: pass base=...")
    chat_format = as_chat(chat)
    settings = Settings(
        template=template,
        chat=chat if chat_format is None else chat_format,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
        progress=progress and is_main(),
        options=dict(options or {}),
    )
    catalogue.check_options(settings.options)
    checkpoints = named(models)
    part_of_job = check_shared([base, retrained, *checkpoints.values()], out, task, overwrite=overwrite)
    named_references: dict[str, CheckpointSource | None] = {BASE: base, RETRAINED: retrained}
    references = {name: source for name, source in named_references.items() if source is not None}
    # in a list the base model is not measured twice; who gives a name means it
    named_by_hand = isinstance(models, Mapping)
    taken = set() if named_by_hand else {place(source) for source in references.values()} - {None}
    others = {name: source for name, source in checkpoints.items() if place(source) not in taken}
    if twice := set(others) & set(references):
        raise DissectError(f"{sorted(twice)[0]!r} is the name of a role: give the checkpoint another, in a mapping")
    spec = {
        "sets": {name: {"n": len(each), "fingerprint": fingerprint(each)} for name, each in facts.items()},
        "measures": [m.name for m in selected],
        "answers": answers,
        "template": template,
        "max_new_tokens": max_new_tokens,
        "n_examples": n_examples,
        "options": dict(settings.options),
        "dtype": dtype,
        "seed": seed,
        "versions": versions(),
        "roles": {name: place(source) for name, source in references.items()},
    }
    if allow_extra_rows:
        spec["allow_extra_rows"] = True
    sources = references | others
    check_there([*sources.values(), adapter_base])
    if chat_format is not None:
        spec["chat"] = chat_format.to_dict()
        known = BASE if BASE in references else None  # differences are named when the checkpoints are compared
        spec["chat_templates"] = chat_templates(sources, chat_format, base=known, adapter_base=adapter_base, say=False)
    loader = CheckpointLoader(references, facts, settings, dtype, device, answers, adapter_base, allow_extra_rows)

    def part(name: str) -> Evaluation:
        examined = loader.examined(name, sources[name])
        about = _about(examined.model, role=name if name in references else None)
        return measured(examined, selected, about=about, spec=spec, n_examples=n_examples)

    if out is None:
        return joined([part(name) for name in sources])
    return shared(sources, part, out=out, spec=spec, task=part_of_job)


def chosen_measures(wanted: Any) -> list[Measure]:
    """Return measures by name or family.

    Raises:
        DissectError: neither a measure nor a family.
    """
    known = catalogue.available()
    if wanted is None:
        return [measure for measure in known.values() if not measure.slow]
    names = [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, Iterable) else [str(wanted)]
    if not names:
        raise DissectError("no measures named: name some, or leave measures out")
    selected: dict[str, Measure] = {}
    for name in names:
        if name == "all":
            selected |= known
        elif name in FAMILIES:
            selected |= {m.name: m for m in known.values() if m.family == name and not m.slow}
        elif name in known:
            selected[name] = known[name]
        else:
            every = [*FAMILIES, "all", *known]
            raise DissectError(f"no measure {name!r}{near_miss(str(name), every)}: choose from {', '.join(every)}")
    return [measure for measure in known.values() if measure.name in selected]


def _about(model: HookedTransformer, *, role: str | None) -> dict[str, Any]:
    info = checkpoint_or_none(model)
    about: dict[str, Any] = {} if info is None else {"path": str(info.path), "fingerprint": info.fingerprint}
    return about if role is None else about | {"role": role}
