"""From `Facts` to `Prompts`: render, tokenise, find the answer, pad on the right."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from transformer_lens import HookedTransformer

from dissect.data.chat.chat_checks import say_bos, say_dated, say_line_break, say_unread, say_unused
from dissect.data.chat.chat_format import ChatFormat
from dissect.data.chat.chat_rows import chat_prompt, chat_row
from dissect.data.chat.chat_settings import Chat, ChatChoice, as_chat, user_template
from dissect.data.fact import Fact
from dissect.data.own_answers import answered_rows
from dissect.data.prompt_row import PromptRow, plain_prompt, plain_row
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE, AnswerSource, check_template
from dissect.data.text_windows import check_windows, windows_of
from dissect.data.tokenise import check_tokenizer, encode
from dissect.errors import DissectError

log = logging.getLogger(__name__)


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
    chat: ChatChoice = None,
    max_length: int | None = None,
    stride: int | None = None,
) -> Prompts:
    """Tokenise facts and mark the tokens of their answers.

    A question is rendered with ``template`` and joined to its answer by one space (none where the rendered template
    ends in whitespace or the answer starts with some); prompt and completion are joined exactly as given; of a plain
    text everything after the first token is scored. The tokens are exactly what the checkpoint's own tokenizer gives
    for the whole text, its BOS and EOS included; an EOS that it adds stays in the row and is not scored.

    With ``chat`` a question, or the prompt of a completion, is the user's turn of a conversation in the checkpoint's
    own chat template. The ids are those of transformers' ``apply_chat_template`` for the whole conversation, to the
    last token; what the template writes after the answer stays in the row and is not scored, but for the token that
    ends the turn where ``end_of_turn`` asks for it. Plain texts stay as they are.

    With ``answers="base"`` the model itself answers greedily from the prompt's tokens (without a trailing EOS); the
    generated ids are kept as they came, an EOS (in a chat also the token that ends a turn, and everywhere an id that no
    token has) ends the answer and is no part of it, but for the end of a turn that is to be scored. Texts cannot be
    answered.

    Args:
        facts: what to ask.
        source: a fast tokenizer, or a model with one; a model also bounds the length by its context.
        template: for questions; ``{question}`` and whatever else the facts carry in ``extra``.
        answers: "gold" for the answers of the facts, "base" for the model's own.
        max_new_tokens: at most so many tokens of a model's own answer.
        n_ctx: the longest row allowed; None takes the model's context, or none for a tokenizer.
        batch_size: prompts of equal length that are answered together.
        progress: show a bar while the model answers.
        chat: True for the chat template's defaults, or a mapping with ``system``, ``shots`` (earlier questions and
            answers), ``end_of_turn`` and any argument of the template; see `dissect.data.chat.chat_settings`. With it
            ``template`` is what stands in the user's turn, by default the question alone. None: no chat format, and a
            line in the log where the tokenizer has one; False: none, without that line.
        max_length: cut plain texts into windows of at most so many tokens, each a row; see `windows_of`.
        stride: tokens from the beginning of a window to that of the next.

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
    check_windows(max_length, stride)
    settings = as_chat(chat)
    limit = n_ctx if n_ctx is not None else None if model is None else model.cfg.n_ctx
    window = max_length if limit is None or max_length is None else min(max_length, limit)
    form = None if settings is None else ChatFormat(tokenizer, settings)
    shared = _How(form, user_template(template, settings), answers == "base", window, stride)
    if chat is None and template == DEFAULT_TEMPLATE and any(fact.kind == "question" for fact in facts):
        say_unused(tokenizer)
    rows: list[PromptRow] = []
    owners: list[Fact] = []
    for i, fact in enumerate(facts):
        try:
            made = _rows_of(fact, tokenizer, shared)
            for row in made:
                _check_room(row, limit, fact, answered=shared.answered)
        except DissectError as error:
            raise DissectError(f"fact {i} ({getattr(fact, fact.kind)!r:.60}): {error}") from error
        rows += made
        owners += [fact] * len(made)
    if model is not None:
        _check_vocabulary(rows, model)
    _say_oddities(rows, tokenizer, form)
    if shared.answered:
        rows = answered_rows(
            rows, model, form, limit, max_new_tokens=max_new_tokens, batch_size=batch_size, progress=progress
        )
    _warn_unknown(rows, tokenizer)
    return _pad(rows, owners, answers, tokenizer, template, settings)


@dataclass(frozen=True)
class _How:
    """Settings that all facts share."""

    form: ChatFormat | None
    template: str
    answered: bool
    """True if the model answers, and not the facts."""
    window: int | None
    stride: int | None


def _say_oddities(rows: Sequence[PromptRow], tokenizer: Any, form: ChatFormat | None) -> None:
    """Warn of what is no error but is seldom meant; once for each tokenizer."""
    questions = [row for row in rows if row.rendered.prompt]
    if form is not None:
        say_dated(form)
        say_unread(form)
    else:
        say_line_break(tokenizer, [row.rendered.prompt for row in questions])
    say_bos(tokenizer, [row.ids for row in questions], chat=form is not None)


def _rows_of(fact: Fact, tokenizer: Any, shared: _How) -> list[PromptRow]:
    """The rows of a fact: one, or the windows of a long text."""
    form = shared.form
    if shared.answered:
        plain = form is None or fact.kind == "text"
        return [plain_prompt(fact, tokenizer, shared.template) if plain else chat_prompt(fact, form, shared.template)]  # type: ignore[arg-type]
    if form is not None and fact.kind != "text":
        return [chat_row(fact, form, shared.template)]
    row = plain_row(fact, tokenizer, shared.template)
    if fact.text is None or shared.window is None or len(row.ids) <= shared.window:
        return [row]
    return list(windows_of(encode(tokenizer, fact.text), fact.text, size=shared.window, stride=shared.stride))


def _check_room(row: PromptRow, limit: int | None, fact: Fact, *, answered: bool) -> None:
    if limit is not None and len(row.ids) + answered > limit:
        room = " and leaves no room for an answer" if answered else ""
        cut = ", or cut it into windows with max_length" if fact.kind == "text" and not answered else ""
        raise DissectError(
            f"it has {len(row.ids)} tokens{room}, the context has {limit}: shorten it or leave it out{cut}"
        )


def _check_vocabulary(rows: Sequence[PromptRow], model: HookedTransformer) -> None:
    highest = max(max(row.ids) for row in rows)
    if highest >= model.cfg.d_vocab:
        raise DissectError(
            f"the tokenizer gives id {highest}, the model has {model.cfg.d_vocab} tokens: attach the checkpoint's own"
        )


def _warn_unknown(rows: Sequence[PromptRow], tokenizer: Any) -> None:
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return
    hit = [i for i, row in enumerate(rows) if unknown in row.ids[row.start : row.stop]]
    if hit:
        log.warning(
            "%d of %d answers hold tokens unknown to the tokenizer (first: prompt %d)", len(hit), len(rows), hit[0]
        )


def _pad(
    rows: Sequence[PromptRow],
    facts: Sequence[Fact],
    answers: AnswerSource,
    tokenizer: Any,
    template: str,
    chat: Chat | None,
) -> Prompts:
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
        template=template,
        chat=chat,
        tails=() if chat is None else tuple(row.tail for row in rows),
    )
