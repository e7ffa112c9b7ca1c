"""The chat templates in which checkpoints are asked: known before anything is measured, and kept with the results."""

from collections.abc import Mapping

from transformer_lens import HookedTransformer

from dissect.data.chat.chat_format import ChatFormat
from dissect.data.chat.chat_settings import Chat
from dissect.errors import DissectError
from dissect.evaluation.sources import CheckpointSource
from dissect.models.adapter_base import adapter_base_of
from dissect.models.comparable import say_chat_templates
from dissect.models.files.load import tokenizer_of


def chat_templates(
    sources: Mapping[str, CheckpointSource],
    chat: Chat | None,
    *,
    base: str | None = None,
    adapter_base: str | None = None,
    say: bool = True,
) -> dict[str, str]:
    """Hash of each checkpoint's chat template; none of any where questions are not asked in it.

    Args:
        sources: the checkpoints, by name.
        chat: the settings of the chat format.
        base: the name of the base model, whose template the others are compared with.
        adapter_base: base model of every adapter, instead of the one that it records.
        say: whether to name templates that differ.

    Raises:
        DissectError: a checkpoint has no chat template, or none that was asked for.
    """
    if chat is None:
        return {}
    tokenizers = {}
    for name, source in sources.items():
        if isinstance(source, HookedTransformer):
            tokenizers[name] = source.tokenizer
            continue
        stand_in = None if base is None or name == base else sources[base]
        tokenizers[name] = tokenizer_of(source, base=adapter_base_of(source, given=adapter_base, stand_in=stand_in))
    hashes = {}
    for name, tokenizer in tokenizers.items():
        try:
            hashes[name] = ChatFormat(tokenizer, chat).fingerprint
        except DissectError as error:
            raise DissectError(f"{name}: {error}") from error
        if say and base is not None and name != base and hashes[name] != hashes.get(base, hashes[name]):
            say_chat_templates(tokenizers[base], tokenizer, f"{base} and {name}")
    return hashes
