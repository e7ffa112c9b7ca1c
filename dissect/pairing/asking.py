"""How questions are put to a model: template or chat, and how many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.chat.chat_settings import ChatChoice, user_template
from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE


@dataclass(frozen=True)
class Asking:
    """Settings of every question that is asked."""

    template: str = DEFAULT_TEMPLATE
    """For questions; a prompt has none."""
    chat: ChatChoice = field(default=None, hash=False)
    """True or a mapping for the checkpoint's own chat template, as in ``Facts.prompts``; None for none."""
    batch_size: int = 32
    """Rows in one forward pass."""
    max_new_tokens: int = 30
    """Longest generated answer in a chat, in tokens."""
    max_length: int | None = None
    """Plain texts are cut into windows of this many tokens; None cuts only those longer than the context."""
    stride: int | None = None
    """Tokens from one window to the next; None for windows that do not overlap."""

    @property
    def user_template(self) -> str:
        """The template of a question, in a chat of the user's turn: there the question alone, if none was set."""
        return user_template(self.template, self.chat)

    def prompts(self, facts: Sequence[Fact], source: Any) -> Prompts:
        """Tokenise, the answers marked; ``source`` is a tokenizer or a model.

        Raises:
            DissectError: what cannot be asked.
        """
        from dissect.data.make_prompts import make_prompts

        return make_prompts(facts, source, template=self.template, chat=self.chat, progress=False)

    def windows(self, texts: Sequence[Fact], model: HookedTransformer) -> Prompts:
        """Tokenise plain texts, those that are too long in windows in which every token is scored once.

        Raises:
            DissectError: what cannot be tokenised, or windows that would leave tokens out.
        """
        from dissect.data.make_prompts import make_prompts

        context = model.cfg.n_ctx
        size = context if self.max_length is None else min(self.max_length, context)
        return make_prompts(texts, model, chat=False, max_length=size, stride=self.stride, progress=False)
