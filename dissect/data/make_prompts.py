"""From `Facts` to `Prompts`: render, tokenise, find the answer, pad on the right."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from transformer_lens import HookedTransformer

from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE, AnswerSource, Rendered, check_template, render
from dissect.data.tokenise import Encoded, answer_start, check_tokenizer, encode, subject_positions
from dissect.errors import DissectError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Row:
    """One prompt before padding."""

    ids: Sequence[int]
    start: int
    """the first answer token"""
    stop: int
    """one past the last answer token"""
    subject: Sequence[int]
    rendered: Rendered


def make_prompts(
    facts: Sequence[Fact],
    source: Any,
    *,
    template: str = DEFAULT_TEMPLATE,
    answers: AnswerSource = "gold",
    max_new_tokens: int = 30,
    n_ctx: int | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> Prompts:
    """Tokenise facts and mark the tokens of their answers.

    A question is rendered with ``template`` and joined to its answer by one space (none where the rendered template
    ends in whitespace or the answer starts with some); prompt and completion are joined exactly as given; of a plain
    text everything after the first token is scored. The tokens are exactly what the checkpoint's own tokenizer gives
    for the whole text, its BOS and EOS included; an EOS that it adds stays in the row and is not scored.

    With ``answers="base"`` the model itself answers greedily from the prompt's tokens (without a trailing EOS); the
    generated ids are kept as they came, an EOS ends the answer and is no part of it. Texts cannot be answered.

    Args:
        facts: what to ask.
        source: a fast tokenizer, or a model with one; a model also bounds the length by its context.
        template: for questions; ``{question}`` and whatever else the facts carry in ``extra``.
        answers: "gold" for the answers of the facts, "base" for the model's own.
        max_new_tokens: at most so many tokens of a model's own answer.
        n_ctx: the longest row allowed; None takes the model's context, or none for a tokenizer.
        batch_size: prompts of equal length that are answered together.
        progress: show a bar while the model answers.

    Raises:
        DissectError: no facts, a slow tokenizer, a template that does not fit, a fact without an answer, an answer that
            becomes no token, a row longer than the context, a model that answers nothing.
    """
    model = source if isinstance(source, HookedTransformer) else None
    tokenizer = source if model is None else model.tokenizer
    if tokenizer is None:
        raise DissectError("the model has no tokenizer: load a checkpoint with one, or set model.tokenizer")
    if len(facts) == 0:
        raise DissectError("there are no facts to make prompts of: give at least one")
    if answers not in get_args(AnswerSource):
        raise DissectError(f"answers must be one of {', '.join(get_args(AnswerSource))}, got {answers!r}")
    if answers == "base" and model is None:
        raise DissectError("answers='base' needs a model to answer, got a tokenizer: pass the base model")
    check_tokenizer(tokenizer)
    check_template(template)
    limit = n_ctx if n_ctx is not None else None if model is None else model.cfg.n_ctx
    rows = []
    for i, fact in enumerate(facts):
        try:
            rows.append(
                _prompt_row(fact, tokenizer, template) if answers == "base" else _gold_row(fact, tokenizer, template)
            )
            _check_room(rows[-1], limit, answered=answers == "base")
        except DissectError as error:
            raise DissectError(f"fact {i} ({getattr(fact, fact.kind)!r:.60}): {error}") from error
    if model is not None:
        _check_vocabulary(rows, model)
    if answers == "base":
        rows = _answered(rows, model, limit, max_new_tokens=max_new_tokens, batch_size=batch_size, progress=progress)
    _warn_unknown(rows, tokenizer)
    return _pad(rows, facts, answers, tokenizer)


def _gold_row(fact: Fact, tokenizer: Any, template: str) -> _Row:
    """The fact with its own answer: the boundary is found in the tokens of the whole text."""
    rendered = render(fact, template)
    if rendered.target is None:
        raise DissectError("it has no answer: add one, or ask for the model's own with answers='base'")
    text = rendered.prompt + rendered.target
    encoded = encode(tokenizer, text)
    stop = len(encoded.ids) - encoded.trailing
    start = 1 if fact.kind == "text" else answer_start(encoded, len(rendered.prompt))
    if start >= stop:
        raise DissectError(f"its answer {rendered.target!r:.60} becomes no token to score: give a longer one")
    if start == 0:
        raise DissectError("its answer starts at the first token, which nothing predicts: give a prompt before it")
    subject = _subject(fact, encoded, text, end=stop if fact.kind == "text" else start)
    return _Row(encoded.ids, start, stop, subject, rendered)


def _prompt_row(fact: Fact, tokenizer: Any, template: str) -> _Row:
    """The fact without an answer: the prompt's own tokens, from which a model can go on."""
    rendered = render(fact, template)
    if not rendered.prompt:
        raise DissectError("a plain text has no prompt to answer: use answers='gold', or give prompt and completion")
    encoded = encode(tokenizer, rendered.prompt).without_trailing()
    n = len(encoded.ids)
    if n == 0:
        raise DissectError(f"its prompt {rendered.prompt!r:.60} becomes no token: give a longer one")
    return _Row(encoded.ids, n, n, _subject(fact, encoded, rendered.prompt, end=n), rendered)


def _subject(fact: Fact, encoded: Encoded, text: str, *, end: int) -> list[int]:
    subject = fact.extra.get("subject")
    return subject_positions(encoded, text, subject, end=end) if isinstance(subject, str) else []


def _check_room(row: _Row, limit: int | None, *, answered: bool) -> None:
    if limit is not None and len(row.ids) + answered > limit:
        room = " and leaves no room for an answer" if answered else ""
        raise DissectError(f"it has {len(row.ids)} tokens{room}, the context has {limit}: shorten it or leave it out")


def _check_vocabulary(rows: Sequence[_Row], model: HookedTransformer) -> None:
    highest = max(max(row.ids) for row in rows)
    if highest >= model.cfg.d_vocab:
        raise DissectError(
            f"the tokenizer gives id {highest}, the model has {model.cfg.d_vocab} tokens: attach the checkpoint's own"
        )


def _warn_unknown(rows: Sequence[_Row], tokenizer: Any) -> None:
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return
    hit = [i for i, row in enumerate(rows) if unknown in row.ids[row.start : row.stop]]
    if hit:
        log.warning(
            "%d of %d answers hold tokens unknown to the tokenizer (first: prompt %d)", len(hit), len(rows), hit[0]
        )


def _answered(
    rows: Sequence[_Row],
    model: HookedTransformer,
    limit: int | None,
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: bool,
) -> list[_Row]:
    """Let the model go on from each prompt, and keep the ids that it gives."""
    from dissect.models.running.generate import eos_token_ids, greedy

    generated = greedy(
        model,
        [torch.tensor(row.ids) for row in rows],
        max_new_tokens=max_new_tokens,
        eos_ids=eos_token_ids(model),
        n_ctx=limit,
        batch_size=batch_size,
        progress=progress,
    )
    answered = []
    for i, (row, new) in enumerate(zip(rows, generated, strict=True)):
        if len(new) == 0:
            raise DissectError(
                f"the model answers nothing to prompt {i} ({row.rendered.prompt!r:.60}), its first token is EOS: leave "
                "the fact out or change the template"
            )
        ids = [*row.ids, *new.tolist()]
        rendered = Rendered(row.rendered.prompt, _continuation(model.tokenizer, row.ids, ids))
        answered.append(_Row(ids, row.start, len(ids), row.subject, rendered))
    return answered


def _continuation(tokenizer: Any, before: Sequence[int], ids: Sequence[int]) -> str:
    """The text that the ids add, for showing; decoding the new ids alone would lose a leading space."""
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    whole, start = tokenizer.decode(list(ids), **options), tokenizer.decode(list(before), **options)
    return whole[len(start) :] if whole.startswith(start) else tokenizer.decode(list(ids[len(before) :]), **options)


def _pad(rows: Sequence[_Row], facts: Sequence[Fact], answers: AnswerSource, tokenizer: Any) -> Prompts:
    """Fill up on the right with id 0, which every vocabulary has; nothing ever reads it."""
    width = max(len(row.ids) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.int64)
    answer_mask = torch.zeros(len(rows), width, dtype=torch.bool)
    subject_mask = torch.zeros_like(answer_mask)
    for i, row in enumerate(rows):
        tokens[i, : len(row.ids)] = torch.tensor(row.ids)
        answer_mask[i, row.start : row.stop] = True
        subject_mask[i, list(row.subject)] = True
    return Prompts(
        tokens=tokens,
        lengths=torch.tensor([len(row.ids) for row in rows]),
        prompt_lengths=torch.tensor([row.start for row in rows]),
        answer_mask=answer_mask,
        subject_mask=subject_mask,
        prompt_texts=tuple(row.rendered.prompt for row in rows),
        answer_texts=tuple(row.rendered.target or "" for row in rows),
        facts=tuple(facts),
        answers=answers,
        tokenizer=tokenizer,
    )
