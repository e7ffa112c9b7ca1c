"""Reading single facts off the models, for the picker: one pass over all facts for each model and question."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.autopsy.picker.fact_table import FactTable
from dissect.autopsy.step_inputs import StepInputs, evenly
from dissect.data.fact import PARTNER, Fact
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.data.token_table import token_texts
from dissect.errors import DissectError
from dissect.pairing.asking import Asking
from dissect.pairing.block import Block
from dissect.pairing.scoring import score_sheets
from dissect.pairing.tested import paired
from dissect.reading.answers import say
from dissect.reading.layer_lens import LOGITS_AT_ONCE, logit_lens, states_by_layer
from dissect.reading.token_scores import token_scores
from dissect.undoing.gradient_mode import without_gradients

SETS = ("forget", "retain")
LENS_TOKENS = 6
"""First tokens of each answer that are read in every layer; the others are read at the end alone."""
_LENS_MODELS = ("base", "unlearned")


def read_facts(inputs: StepInputs) -> FactTable:
    """Read the facts of the forget and retain sets, at most ``max_picked`` of each, spread evenly.

    Raises:
        DissectError: no question or prompt among them, or one that cannot be asked.
    """
    models, settings = inputs.pair.models(), inputs.settings
    vocabulary: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    with tqdm(total=len(models) * 2, desc="single facts", unit="pass", disable=not inputs.progress) as bar:
        for name in SETS:
            facts = inputs.sets.get(name, Facts([]))
            asked = [number for number, fact in enumerate(facts) if fact.kind != "text"]
            numbers = [asked[place] for place in evenly(len(asked), settings.max_picked)]
            if numbers:
                entries += _entries(inputs, name, [facts[number] for number in numbers], numbers, vocabulary)
            bar.update(len(models))
    if not entries:
        raise DissectError("there is no question or prompt to pick: the facts are plain texts")
    choices = _choices(inputs)
    for entry in entries:
        entry["choice"] = choices.get(entry["number"]) if entry["set"] == "forget" else None
    return FactTable(
        models=list(models),
        lens_models=[name for name in _LENS_MODELS if name in models],
        vocabulary=list(vocabulary),
        facts=entries,
        n_facts={name: len(inputs.sets[name]) for name in SETS if name in inputs.sets},
    )


def _entries(
    inputs: StepInputs, set: str, facts: Sequence[Fact], numbers: Sequence[int], vocabulary: dict[str, int]
) -> list[dict[str, Any]]:
    """The entries of one set, without what they are compared with."""
    settings, models = inputs.settings, inputs.pair.models()
    own = any(getattr(fact, PARTNER[fact.kind] or "text") is None for fact in facts)
    prompts = Facts(facts).prompts(
        inputs.pair.base,
        template=settings.template,
        chat=settings.chat,
        answers="base" if own else "gold",
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        progress=False,
    )
    said, scores = {}, {}
    for role, model in models.items():
        said[role] = say(model, prompts, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size)
        found = token_scores(model, prompts, batch_size=settings.batch_size)
        scores[role] = found.split(np.exp(found.logprob))
    lenses = {role: _lens(models[role], inputs.pair.base, prompts, settings.batch_size) for role in _LENS_MODELS}
    entries = []
    for row, (fact, number) in enumerate(zip(facts, numbers, strict=True)):
        answer = prompts.tokens[row][prompts.answer_mask[row]].tolist()
        entries.append(
            {
                "set": set,
                "number": int(number),
                "question": prompts.questions[row],
                "prompt": prompts.prompt_texts[row],
                "expected": prompts.answer_texts[row].strip(),
                "group": str(
                    fact.extra.get("group") or fact.extra.get("attribute") or fact.extra.get("relation") or ""
                ),
                "subject": str(fact.extra.get("subject") or ""),
                "said": [said[role][row].said for role in models],
                "tokens": token_texts(prompts, answer),
                "p": [[_short(value) for value in scores[role][row]] for role in models],
                "lens": [_named(lenses[role][row], prompts, vocabulary) for role in _LENS_MODELS],
            }
        )
    return entries


@without_gradients()
def _lens(
    model: HookedTransformer, head: HookedTransformer, prompts: Prompts, batch_size: int
) -> list[list[list[tuple[int, int, int]]]]:
    """[prompt][layer][token]: p of the answer's token and of the most likely one, in thousandths, and that one's id."""
    lens, device = logit_lens(head), model.embed.W_E.device
    at_once = max(1, LOGITS_AT_ONCE // head.cfg.d_vocab)
    tables: list[list[list[tuple[int, int, int]]]] = []
    for part in prompts.batches(batch_size):
        where = part.predicting_mask & (part.predicting_mask.cumsum(-1) <= LENS_TOKENS)
        following = torch.nn.functional.pad(part.tokens[:, 1:], (0, 1))
        targets, rows = following[where].to(device), where.nonzero()[:, 0].tolist()
        own: list[list[list[tuple[int, int, int]]]] = [[] for _ in range(len(part))]
        for layer, states in enumerate(states_by_layer(model, part.tokens.to(device), where.to(device))):
            cells: list[tuple[int, int, int]] = []
            for some, wanted in zip(states.split(at_once), targets.split(at_once), strict=True):
                p = lens(layer, some).softmax(-1)
                best, ids = p.max(-1)
                of_answer = p.gather(-1, wanted[:, None])[:, 0]
                numbers = ((1000 * column).round().int().tolist() for column in (of_answer, best))
                cells += list(zip(*numbers, ids.tolist(), strict=True))
            for table in own:
                table.append([])
            for row, cell in zip(rows, cells, strict=True):
                own[row][layer].append(cell)
        tables += own
    return tables


def _named(
    table: list[list[tuple[int, int, int]]], prompts: Prompts, vocabulary: dict[str, int]
) -> list[list[list[int]]]:
    """The table of one prompt with its tokens numbered in ``vocabulary``, which grows."""
    return [
        [
            [p, best, vocabulary.setdefault(text, len(vocabulary))]
            for (p, best, _), text in zip(cells, token_texts(prompts, [cell[2] for cell in cells]), strict=True)
        ]
        for cells in table
    ]


def _choices(inputs: StepInputs) -> Mapping[int, dict[str, Any]]:
    """By number of the forget fact: its own answer and those that it is compared with, as each model scores them."""
    settings = inputs.settings
    if inputs.unanswered:
        return {}
    try:
        tested = paired(inputs.sets["forget"], template=settings.template, seed=settings.seed)
    except DissectError:  # the panel says why
        return {}
    asking = Asking(settings.template, settings.chat, settings.batch_size, settings.max_new_tokens)
    scores = [score_sheets(model, tested.sheets, asking) for model in inputs.pair.models().values()]
    found: dict[int, dict[str, Any]] = {}
    for number, block in enumerate(tested.blocks):
        for row, fact in enumerate(block.facts.tolist()):
            found.setdefault(fact, _choice(block, row, [matrices[number] for matrices in scores]))
    return found


def _choice(block: Block, row: int, matrices: Sequence[np.ndarray]) -> dict[str, Any]:
    texts = {
        column: ask.questions["as asked"][0].fact.question or answer if block.sheet.kind == "subjects" else answer
        for ask in block.sheet.asks
        if ask.row == row
        for column, answer in zip(ask.columns, ask.answers, strict=True)
    }
    slot = int(block.slot[row])
    own = int(block.own[slot])
    columns = [own, *(int(column) for column in np.flatnonzero(block.foils[slot]) if int(column) in texts)]
    return {
        "answers": [texts[column].strip() for column in columns],
        "scores": [[round(float(matrix[row, column]), 3) for column in columns] for matrix in matrices],
    }


def _short(value: float) -> float:
    """A probability to four significant digits."""
    return float(f"{value:.4g}")
