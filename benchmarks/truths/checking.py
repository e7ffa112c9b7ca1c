"""From a model as it was made to its record: what it says, what undoing brings back, and which truth that leaves."""

from collections.abc import Callable
from math import nan
from typing import Any

from transformers import LlamaForCausalLM

from benchmarks.truths.answering import answered, share_of
from benchmarks.truths.bench import Bench
from benchmarks.truths.constructions.grounds import told
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.record import Record, landed, read_record
from benchmarks.truths.rows import asked_in, stated
from benchmarks.truths.settings import BROKEN
from benchmarks.truths.store import put_tensors_back
from dissect.data.render import DEFAULT_TEMPLATE

WORDINGS = ("question", "paraphrases", "held_out")


def record_of(bench: Bench, recipe: Recipe, made: Made, changed: list[str], *, seconds: Callable[[], float]) -> Record:
    """Check a model that was made, and say what it is.

    A model that lost what was to be kept is labelled broken, whatever it was meant to be; any other that did not land
    where its class wants it is left unlabelled, and counts nowhere.
    """
    before = bench.measured(recipe.base, recipe.forget)
    now = bench.exam(recipe.forget).measured(made.model)
    check = {key: share_of(now, before, key) for key in now}
    check["most_said"] = max(check[wording] for wording in WORDINGS)
    undo = None if made.undo is None else _undo(made.undo, made.model, changed)
    check["undone"] = nan if undo is None else _undone(bench, recipe, made.model, undo) / before["question"]
    check["stated"] = _stated(bench, recipe, made)
    label, exact = recipe.label or recipe.kind, recipe.exact
    dose = check["stated"] if recipe.kind == "erased" else recipe.dose
    how: dict[str, Any] = dict(made.how)
    if not landed(recipe.kind, check):
        label, how["missed"] = ("broken" if check["kept"] < BROKEN else "unlabelled"), True
        exact = exact and label == "broken"
        dose = dose if exact else nan
    return Record(
        name=recipe.name,
        seed=bench.settings.seed,
        kind=recipe.kind,
        label=label,
        dose=dose,
        exact=exact,
        cluster=recipe.cluster,
        family=recipe.family,
        forget=recipe.forget,
        ground=recipe.ground,
        base=recipe.base,
        made=how,
        check={key: round(value, 6) for key, value in check.items()},
        undo=undo,
        seconds=round(seconds(), 2),
    )


def _undo(given: dict[str, Any], model: LlamaForCausalLM, changed: list[str]) -> dict[str, Any]:
    tensors = list(given.get("tensors", changed))
    sizes = {name: value.numel() for name, value in model.state_dict().items()}
    share = sum(sizes[name] for name in tensors) / sum(sizes.values())
    return {"tensors": tensors, "template": given.get("template"), "share": round(share, 6)}


def _undone(bench: Bench, recipe: Recipe, model: LlamaForCausalLM, undo: dict[str, Any]) -> float:
    """Share answered as asked after the undoing; the model stays as it is."""
    back = bench.fresh(recipe.base)
    back.load_state_dict(put_tensors_back(model.state_dict(), back.state_dict(), undo["tensors"]))
    facts = bench.facts(recipe.forget)["forget"]
    return answered(back, bench.answers(asked_in(facts, "question", template=undo["template"] or DEFAULT_TEMPLATE)))


def _stated(bench: Bench, recipe: Recipe, made: Made) -> float:
    """Share of the forget facts that stand in what the model learnt from, from nothing on."""
    facts = list(bench.facts(recipe.forget)["forget"])
    share = len(stated(facts, {*told(bench, recipe.ground), *made.learnt})) / len(facts)
    parents = [read_record(bench.directory, name) for name in recipe.needs]
    return max([share, *(parent.check["stated"] for parent in parents if parent.kind == recipe.kind)])
