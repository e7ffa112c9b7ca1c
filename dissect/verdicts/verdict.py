"""`dissect.verdict`: the panel of attacks and the word, for a pair or for many checkpoints."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformer_lens import HookedTransformer

from dissect.attacks.attack import available, budgets, chosen_attacks
from dissect.data.chat.chat_settings import ChatChoice, as_chat
from dissect.data.facts import Facts
from dissect.data.render import DEFAULT_TEMPLATE, check_template
from dissect.data.text_windows import check_windows
from dissect.distributed import is_main
from dissect.errors import DissectError
from dissect.evaluation.checkpoint_loading import BASE, RETRAINED
from dissect.evaluation.sets import answered, fingerprint
from dissect.evaluation.sources import CheckpointSource, check_there, place
from dissect.evaluation.templates import chat_templates
from dissect.jobs.items import Items
from dissect.jobs.journal import key_of
from dissect.jobs.shared_journals import journals_of
from dissect.keywords import keywords
from dissect.models.adapter_base import adapter_base_of
from dissect.models.files.load import load
from dissect.models.origins import check_outputs
from dissect.models.sharding.sharded import is_sharded
from dissect.pairing.asking import Asking
from dissect.pairing.tested import Tested, paired
from dissect.provenance import versions
from dissect.sweep.sweep import check_out
from dissect.verdicts import lines
from dissect.verdicts.answering import sampled
from dissect.verdicts.judging import assembled
from dissect.verdicts.panel import ANSWERS, Bench, measured
from dissect.verdicts.result import Verdicts
from dissect.verdicts.retain_to_learn import retain_to_learn
from dissect.verdicts.verdict_inputs import facts_given, sources_given


@keywords()
def verdict(
    checkpoints: Any,
    *,
    forget: Any,
    retain: Any = None,
    base: Any = None,
    retrained: Any = None,
    texts: Any = None,
    attacks: Any = None,
    options: Mapping[str, Any] | None = None,
    answers: str = "gold",
    template: str = DEFAULT_TEMPLATE,
    chat: ChatChoice = None,
    subject: str = "subject",
    n_folds: int | None = None,
    max_new_tokens: int = 30,
    max_length: int | None = None,
    stride: int | None = None,
    dtype: str = "float32",
    device: str | None = None,
    batch_size: int = 32,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    task: str | None = None,
    overwrite: bool = False,
    adapter_base: str | None = None,
    progress: bool = True,
) -> Verdicts:
    """Put checkpoints through a panel of attacks, and say whether the facts were erased.

    Every question is scored against its own answer and those of other subjects, as asked and after each attack; no
    attack sees a tested fact. A model that never knew who belongs to what cannot tell the true pairing from any other,
    so re-dealing the answers among the subjects gives an exact test, which needs no retrained model. docs/verdict.md
    states the rule.

    Args:
        checkpoints: a pair of ``dissect.load_pair``; or one checkpoint or several (directories, hub ids, loaded
            models, or a mapping from names) with ``base``; or a list whose first is the base model.
        forget: what was to be forgotten. Facts of one kind share a ``group`` (or ``attribute``, ``relation``) in their
            extra, and ``subject`` says whom a fact is about.
        retain: what was to be kept; several attacks learn from it, and without it nothing is called erased.
        base: the checkpoint before unlearning.
        retrained: one trained without the forget facts, put through the same panel beside the others.
        texts: plain texts, for perplexity.
        attacks: names of attacks or families, ``"quick"`` (those that train nothing) or ``"all"``, the default.
        options: what single attacks are told, e.g. ``{"continued_kept.steps": 50}``.
        answers: ``gold`` for the answers of the facts, ``base`` for the base model's own greedy ones in their place.
        template, chat: for questions, as in ``Facts.prompts``; ``chat`` asks in the checkpoint's own chat template, and
            attacks stay inside its format.
        subject: the key of ``extra`` that says whom a fact is about.
        n_folds: folds by subject for relearning; None makes two where that leaves enough re-dealings.
        max_new_tokens: longest greedy answer in a chat, in tokens; else it is that of the longest right answer.
        max_length, stride: windows into which ``texts`` are cut, in tokens; by default those longer than the context.
        dtype, device, batch_size, seed, progress: as everywhere.
        out: ``verdict.json`` to write. What is finished stands in ``<out>.partial`` until it is; the same call goes on.
        task: ``"3/8"``: do the third of eight parts alone, as one task of a job array. Needs ``out``.
        overwrite: replace ``out``.
        adapter_base: the base model of LoRA adapters, instead of the one that each records; ``base`` stands in for one
            that cannot be had.

    Returns:
        `Verdicts`, one for each checkpoint, the base model not among them.

    Raises:
        DissectError: facts of which no answer can be told from another, an attack, option or checkpoint that does not
            exist, or an ``out`` that is taken; before anything is measured.
        Unfinished: this task of a job array has done its part, and others have not.

    Example:
        >>> verdicts = dissect.verdict(pair, forget=facts, retain=others)  # doctest: +SKIP
        >>> verdicts[0].verdict, verdicts[0].share_left.value  # doctest: +SKIP
        ('suppressed', 0.88)
    """
    check_outputs({"out": out}, {"an input": [checkpoints, base, retrained, forget, retain, texts, adapter_base]})
    before, examined, beside = sources_given(checkpoints, base, retrained)
    given = {"forget": forget, "retain": retain, "texts": texts}
    forget, retain, texts = (facts_given(name, facts) for name, facts in given.items())
    check_template(template)
    check_windows(max_length, stride)
    chat_format = as_chat(chat)
    asking = Asking(
        template, chat if chat_format is None else chat_format, batch_size, max_new_tokens, max_length, stride
    )
    if answers not in ("gold", "base"):
        raise DissectError(f"answers must be gold or base, got {answers!r}")
    if answers == "base":
        if not isinstance(before, HookedTransformer):
            before = load(before, dtype=dtype, device=device, base=adapter_base_of(before, given=adapter_base))
        replying = {"chat": asking.chat, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
        forget, retain = (answered(facts, before, template=template, **replying) for facts in (forget, retain))
    questions = paired(forget, template=template, subject=subject, n_folds=n_folds, seed=seed)
    selected = chosen_attacks(attacks)
    if all(attack.name != "as_asked" for attack in selected):
        selected = [available()["as_asked"], *selected]
    merged = budgets(selected, dict(options or {}))
    sources: dict[str, CheckpointSource] = {BASE: before, **({} if beside is None else {RETRAINED: beside}), **examined}
    check_there([*sources.values(), adapter_base])
    whose = check_out(_sharded(sources.values()), _json(out), task, overwrite=overwrite)
    kept = sampled(retain.filter(lambda fact: fact.kind != "text"), lines.KEPT_FACTS, subject, seed)
    learnt_from, note = retain_to_learn(retain, forget, questions, subject)
    bench = Bench(
        tested=questions,
        forget=forget,
        retain=learnt_from,
        note=note,
        kept=kept,
        kept_tested=_choice_of(kept, template, subject, seed),
        texts=texts,
        attacks=tuple(selected),
        budgets=merged,
        asking=asking,
        dtype=dtype,
        device=device,
        seed=seed,
        progress=progress and is_main(),
        adapter_base=adapter_base,
        stand_in=before,
    )
    panel = (ANSWERS, *(attack.name for attack in selected))
    parts = {name: (ANSWERS, "as_asked") if name == BASE else panel for name in sources}
    spec = {
        "sets": {
            name: {"n": len(facts), "fingerprint": fingerprint(facts)}
            for name, facts in (("forget", forget), ("retain", retain), ("texts", texts))
            if len(facts)
        },
        "attacks": merged,
        "answers": answers,
        "template": template,
        "chat": None if chat_format is None else chat_format.to_dict(),
        "chat_templates": chat_templates(sources, chat_format, base=BASE, adapter_base=adapter_base),
        "subject": subject,
        "n_folds": n_folds,
        "max_new_tokens": max_new_tokens,
        "max_length": max_length,
        "stride": stride,
        "lines": {name: getattr(lines, name) for name in dir(lines) if name.isupper()},
        "dtype": dtype,
        "seed": seed,
        "versions": versions(),
        "checkpoints": {name: place(source) for name, source in sources.items()},
    }

    def whole(items: Items | None) -> Verdicts:
        rows = measured(bench, sources, parts, items)
        return assembled(bench, rows, spec, subject=subject, base=BASE, retrained=None if beside is None else RETRAINED)

    if out is None:
        return whole(None)
    with journals_of(_sharded(sources.values()), out, key_of(spec), whose) as journals:
        verdicts = whole(Items(journals))
        journals.finish(lambda: verdicts.save(out))
    return verdicts


def _choice_of(kept: Facts, template: str, subject: str, seed: int) -> Tested | None:
    """Retain facts as a forced choice, for models that answer in words of their own; None where they have no groups."""
    try:
        return paired(kept, template=template, subject=subject, n_folds=1, seed=seed)
    except DissectError:
        return None


def _json(out: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    if out is not None and Path(out).suffix.lower() != ".json":
        raise DissectError(f"a verdict is written as JSON, got {Path(out).name!r}: use a name that ends in .json")
    return out


def _sharded(sources: Iterable[CheckpointSource]) -> HookedTransformer | None:
    return next((each for each in sources if isinstance(each, HookedTransformer) and is_sharded(each)), None)


__all__ = ["verdict"]
