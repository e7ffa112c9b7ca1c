"""How questions are put to a model: template or chat, and how many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.data.render import DEFAULT_TEMPLATE


@dataclass(frozen=True)
class Asking:
    """Settings of every question that is asked."""

    template: str = DEFAULT_TEMPLATE
    """For questions; a prompt has none."""
    chat: Any = None
    """True or a mapping for the checkpoint's own chat template, as in ``Facts.prompts``; None for none."""
    batch_size: int = 32
    """Rows in one forward pass."""
    max_new_tokens: int = 30
    """Longest generated answer in a chat, in tokens."""

    def prompts(self, facts: Sequence[Fact], source: Any) -> Prompts:
        """Tokenise, the answers marked; ``source`` is a tokenizer or a model.

        Raises:
            DissectError: what cannot be asked.
        """
        from dissect.data.make_prompts import make_prompts

        chat = {} if self.chat is None else {"chat": self.chat}
        return make_prompts(facts, source, template=self.template, progress=False, **chat)
