"""`Prompts`: facts as right-padded tokens, with the tokens of the answer and of the subject marked."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dissect.data.chat.chat_format import ChatFormat
from dissect.data.chat.chat_settings import Chat
from dissect.data.fact import Fact
from dissect.data.prompt_table import SHOWN, ShownToken, html_table, summary
from dissect.data.render import DEFAULT_TEMPLATE, AnswerSource
from dissect.data.tokenise import Encoded, encode
from dissect.errors import DissectError


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Prompts:
    """Tokenised facts, one row each, padded on the right; all tensors on the CPU.

    Under causal attention what stands to the right of a position cannot change it, so a row may be run without any
    mask, and what stands at or beyond ``lengths`` is arbitrary. Lengths are kept, never inferred from a pad token.
    """

    tokens: Int[Tensor, "prompt pos"]
    lengths: Int[Tensor, " prompt"]
    """tokens of each row, special ones included"""
    prompt_lengths: Int[Tensor, " prompt"]
    """tokens before the first answer token; 1 for a plain text"""
    answer_mask: Bool[Tensor, "prompt pos"]
    """True on the tokens that are scored: the answer, without the special tokens after it"""
    subject_mask: Bool[Tensor, "prompt pos"]
    """True on the tokens of ``extra["subject"]`` in the prompt; all False where there is none"""
    prompt_texts: tuple[str, ...]
    """what the model is given; empty for a plain text"""
    answer_texts: tuple[str, ...]
    """what follows it, the joining space included"""
    facts: tuple[Fact, ...]
    answers: AnswerSource
    """"gold": the answers of the facts; "base": what a model said, the generated ids kept as they came"""
    tokenizer: Any = field(default=None)
    """the fast tokenizer that made the tokens"""
    template: str = DEFAULT_TEMPLATE
    """the template of the questions"""
    chat: Chat | None = None
    """the settings of the chat format; None where the prompts stand in none"""
    tails: tuple[str, ...] = ()
    """what the chat template writes after each answer; empty without a chat format"""

    @property
    def texts(self) -> tuple[str, ...]:
        """Prompt and answer of each row, joined."""
        return tuple(p + a for p, a in zip(self.prompt_texts, self.answer_texts, strict=True))

    @property
    def questions(self) -> tuple[str, ...]:
        """What each row asks, without template and chat format; the whole prompt where the fact is no question."""
        pairs = zip(self.facts, self.prompt_texts, strict=True)
        return tuple(fact.question or fact.prompt or prompt for fact, prompt in pairs)

    @property
    def predicting_mask(self) -> Bool[Tensor, "prompt pos"]:
        """True where the logits predict an answer token: `answer_mask` shifted one to the left."""
        shifted = torch.zeros_like(self.answer_mask)
        shifted[:, :-1] = self.answer_mask[:, 1:]
        return shifted

    @property
    def prompt_mask(self) -> Bool[Tensor, "prompt pos"]:
        """True on the tokens before the answer, BOS included."""
        return torch.arange(self.tokens.shape[1]) < self.prompt_lengths[:, None]

    @property
    def answer_lengths(self) -> Int[Tensor, " prompt"]:
        """Scored tokens of each row."""
        return self.answer_mask.sum(dim=1)

    @property
    def labels(self) -> Int[Tensor, "prompt pos"]:
        """The tokens with -100 wherever nothing is scored: what the losses take (logits at t predict token t + 1)."""
        return self.tokens.masked_fill(~self.answer_mask, -100)

    def published_counts(self, batch_size: int = 10) -> Int[Tensor, " prompt"]:
        """How many tokens the published notebook of *Dissecting Fine-Tuning Unlearning* would score on each row.

        It counts ``generated - eos - padded prompt length`` after padding the prompts of a batch on the left with eos,
        so the left padding is subtracted twice: ``n_i = answer tokens - left padding of prompt i in its batch``. Rows
        are taken in batches of ``batch_size`` in this order (10 there). ``extra["answers_tokens_num"]``, the count
        stored in the published files, is used where a fact has it.

        Raises:
            DissectError: a count of zero or less, for which the published slice ``-n:`` is not the answer at all.
        """
        counts = []
        for start in range(0, len(self), batch_size):
            widths = self.prompt_lengths[start : start + batch_size]
            counts.append(self.answer_lengths[start : start + batch_size] - (widths.max() - widths))
        stored = [fact.extra.get("answers_tokens_num") for fact in self.facts]
        result = torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64)
        for i, count in enumerate(stored):
            if count is not None:
                result[i] = int(count)
            if result[i] <= 0:
                raise DissectError(
                    f"the published count of prompt {i} ({self.prompt_texts[i]!r:.60}) is {int(result[i])}: score the "
                    "answer itself, or leave this prompt out"
                )
        return result

    def batches(self, batch_size: int) -> Iterator["Prompts"]:
        """The rows in order, ``batch_size`` at a time, each batch as wide as its longest row.

        Raises:
            DissectError: ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise DissectError(f"batch_size must be at least 1, got {batch_size}")
        for start in range(0, len(self), batch_size):
            yield self[start : start + batch_size]

    def fingerprint(self) -> str:
        """SHA-256 over tokens, lengths and masks; what stands in the padding does not count."""
        inside = torch.arange(self.tokens.shape[1]) < self.lengths[:, None]
        digest = hashlib.sha256()
        for tensor in (self.tokens * inside, self.lengths, self.prompt_lengths, self.answer_mask, self.subject_mask):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor.numpy(), dtype="<i8").tobytes())
        return digest.hexdigest()

    @property
    def ends(self) -> frozenset[int]:
        """Ids that end an answer beside the checkpoint's EOS: the token with which the chat template ends a turn."""
        if self.chat is None:
            return frozenset()
        end = ChatFormat(self.tokenizer, self.chat).end_of_turn
        return frozenset() if end is None else frozenset((end,))

    def provenance(self) -> dict[str, Any]:
        """The chat format and the hash of its template, for the attributes of results; empty without one."""
        if self.chat is None:
            return {}
        return {"chat": self.chat.to_dict(), "chat_template": ChatFormat(self.tokenizer, self.chat).fingerprint}

    def encoded(self, row: int) -> Encoded:
        """The text of a row, tokenised again as it was when the row was made.

        Raises:
            DissectError: the tokenizer refuses it.
        """
        tail = self.tails[row] if self.tails else ""
        return encode(self.tokenizer, self.texts[row] + tail, specials=self.chat is None or not self.prompt_texts[row])

    def summary(self) -> str:
        """Number of rows, lengths, and how the first ones read, the answer in brackets."""
        texts = list(zip(self.prompt_texts, self.answer_texts, strict=True))
        lengths, answer_lengths = self.lengths.tolist(), self.answer_lengths.tolist()
        return summary(texts, lengths, answer_lengths, answers=self.answers, chat=self.chat is not None)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.facts)

    def __getitem__(
        self, key: int | slice | Sequence[int] | Int[Tensor, " chosen"] | Bool[Tensor, " prompt"]
    ) -> "Prompts":
        """Some of the rows, as wide as the longest of them; one index gives one row, a mask those where it is True.

        Raises:
            IndexError: no such row.
        """
        if not isinstance(key, (int, slice)):
            index = torch.as_tensor(key)
            key = index if index.dtype == torch.bool else index.long()  # an empty list would be floats
        rows = torch.arange(len(self))[key].reshape(-1)
        width = int(self.lengths[rows].max()) if len(rows) else 0
        return Prompts(
            tokens=self.tokens[rows, :width],
            lengths=self.lengths[rows],
            prompt_lengths=self.prompt_lengths[rows],
            answer_mask=self.answer_mask[rows, :width],
            subject_mask=self.subject_mask[rows, :width],
            prompt_texts=tuple(self.prompt_texts[i] for i in rows.tolist()),
            answer_texts=tuple(self.answer_texts[i] for i in rows.tolist()),
            facts=tuple(self.facts[i] for i in rows.tolist()),
            answers=self.answers,
            tokenizer=self.tokenizer,
            template=self.template,
            chat=self.chat,
            tails=tuple(self.tails[i] for i in rows.tolist()) if self.tails else (),
        )

    def __repr__(self) -> str:
        """The summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        rows = [self._shown_tokens(row) for row in range(min(SHOWN, len(self)))]
        return html_table(self.summary().splitlines()[0], rows)

    def _shown_tokens(self, row: int) -> list[ShownToken]:
        ids = self.tokens[row, : int(self.lengths[row])].tolist()
        names = self.tokenizer.convert_ids_to_tokens(ids) if self.tokenizer is not None else map(str, ids)
        marks = (self.answer_mask[row].tolist(), self.subject_mask[row].tolist())
        return [ShownToken(str(name), *each) for name, *each in zip(names, ids, *marks, strict=False)]
