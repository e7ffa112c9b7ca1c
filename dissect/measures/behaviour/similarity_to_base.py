"""Similarity of a model's answers to the base model's: the behavioural evaluation of ConceptVectors."""

from collections.abc import Sequence

import numpy as np
import torch

from dissect.data.chat.chat_format import ChatFormat
from dissect.data.chat.chat_rows import chat_prompt
from dissect.data.chat.chat_settings import as_chat, user_template
from dissect.data.prompt_row import plain_prompt
from dissect.errors import DissectError, Undefined
from dissect.measures.behaviour.overlap import rouge_l, sentence_bleu
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import switch, whole_number
from dissect.models.running.generate import eos_token_ids, greedy

MAX_NEW_TOKENS = whole_number("similarity_to_base.max_new_tokens", 100, "Longest answer that is compared, in tokens.")
PUBLISHED = switch("similarity_to_base.published", False, "BLEU as the code of ConceptVectors has it.")


def bleu_to_base(examined: Examined) -> Estimate:
    """Mean sentence BLEU of the model's answers, with the base model's as reference."""
    pairs = _pairs(examined)
    if examined.option(PUBLISHED):
        scores = np.array([published_bleu(reference=own, candidate=base) for base, own in pairs])
    else:
        scores = sentence_bleu(pairs, smooth_method="exp", tokenize="none")
    return mean_of(_unless_silent(pairs, scores))


def rouge_to_base(examined: Examined) -> Estimate:
    """Mean ROUGE-L F1 between the model's answers and the base model's."""
    pairs = _pairs(examined)
    return mean_of(_unless_silent(pairs, rouge_l(pairs, stemmer=False)[0]))


def published_bleu(reference: str, candidate: str) -> float:
    """NLTK's ``sentence_bleu`` with ``method3``, as ConceptVectors has it.

    From a candidate of four words on it is what sacrebleu gives with exponential (NIST) smoothing. A shorter one is
    punished for the orders that it is too short for: two equal answers of two words have 0.35.
    """
    from nltk.translate import bleu_score

    smoothing = bleu_score.SmoothingFunction().method3
    words, own = reference.split(), candidate.split()
    return float(bleu_score.sentence_bleu([words], own, smoothing_function=smoothing)) if own else 0.0


def _unless_silent(pairs: Sequence[tuple[str, str]], scores: np.ndarray) -> np.ndarray:
    """Return the scores; where an answer is empty, 1 if both are and 0 if one is."""
    silent = [not (base and own) for base, own in pairs]
    return np.where(silent, [float(base == own) for base, own in pairs], scores)


def _pairs(examined: Examined) -> list[tuple[str, str]]:
    """(the base model's answer, this model's) to each fact."""
    base = examined.base
    return list(zip(_said(base), _said(examined), strict=True))


def _said(examined: Examined) -> list[str]:
    """Greedy answers; the facts need not have any of their own."""
    longest = examined.option(MAX_NEW_TOKENS)
    return examined.memo(("similarity_to_base", examined.set, longest), lambda: _answered(examined, longest))


def _answered(examined: Examined, longest: int) -> list[str]:
    if any(fact.kind == "text" for fact in examined.facts):
        raise Undefined("plain texts ask nothing that could be answered: give questions or prompts")
    tokenizer, settings = examined.model.tokenizer, examined.settings
    try:
        chat = as_chat(settings.chat)
        chat_format = None if chat is None else ChatFormat(tokenizer, chat)
        template = user_template(settings.template, chat)
        rows = [
            plain_prompt(fact, tokenizer, template) if chat_format is None else chat_prompt(fact, chat_format, template)
            for fact in examined.facts
        ]
        end = None if chat_format is None else chat_format.end_of_turn
        new = greedy(
            examined.model,
            [torch.tensor(row.ids) for row in rows],
            max_new_tokens=longest,
            eos_ids=eos_token_ids(examined.model) | (frozenset() if end is None else {end}),
            batch_size=settings.batch_size,
            progress=settings.progress,
        )
    except DissectError as error:
        raise Undefined(str(error)) from error
    return [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in new]


_PROTOCOL = (
    "of the model's greedy answers of up to similarity_to_base.max_new_tokens (100) tokens to those of the base model "
    "to the same prompts: 1 where every answer is the base model's own (ConceptVectors, Hong et al. 2024)"
)
MEASURES = (
    Measure(
        name="similarity_to_base_bleu",
        label="BLEU to the base model's answers",
        definition=(
            f"mean sentence BLEU {_PROTOCOL}; sacrebleu's with words between blanks, effective order up to 4 and "
            "exponential (NIST) smoothing, NLTK's method3 from four words on, the base model's answer as reference; "
            "similarity_to_base.published=true is their code: NLTK, this model's answer as reference"
        ),
        family="behaviour",
        compute=bleu_to_base,
        options=(MAX_NEW_TOKENS, PUBLISHED),
        sets=("forget", "unrelated"),
        knows="high",
    ),
    Measure(
        name="similarity_to_base_rouge_l",
        label="ROUGE-L F1 to the base model's answers",
        definition=f"mean ROUGE-L F1 {_PROTOCOL}; by rouge-score without stems",
        family="behaviour",
        compute=rouge_to_base,
        options=(MAX_NEW_TOKENS,),
        sets=("forget", "unrelated"),
        knows="high",
    ),
)
