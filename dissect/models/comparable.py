"""Checks that two models can be compared, before a pair is made of them."""

import logging

import torch
from transformer_lens import HookedTransformer
from transformers import PreTrainedTokenizerBase

from dissect.errors import DissectError

log = logging.getLogger(__name__)

_MAY_DIFFER = {
    *("model_name", "tokenizer_name", "tokenizer_prepends_bos", "default_prepend_bos", "trust_remote_code"),
    *("device", "n_devices", "dtype", "seed", "init_mode", "initializer_range", "init_weights"),
    *("n_ctx", "n_params", "from_checkpoint", "checkpoint_index", "checkpoint_label_type", "checkpoint_value"),
}
"""Fields of a model's configuration that do not enter what it computes."""


def check_comparable(first: HookedTransformer, second: HookedTransformer, what: str) -> None:
    """Refuse two models whose activations or tokens do not mean the same."""
    _check_rows(first, second, what)
    check_same_shapes(first, second, what)
    ours, theirs = first.cfg.to_dict(), second.cfg.to_dict()
    for key in ours:
        if key not in _MAY_DIFFER and ours[key] != theirs.get(key):
            raise DissectError(
                f"{what} cannot be compared: {key} is {ours[key]!r} in one, {theirs.get(key)!r} in the other"
            )
    _check_tokenizers(first.tokenizer, second.tokenizer, what)


def _check_rows(first: HookedTransformer, second: HookedTransformer, what: str) -> None:
    """Name embeddings that differ in their number of rows alone, and the tokens that only one tokenizer has."""
    one, other = first.cfg.d_vocab, second.cfg.d_vocab
    if one == other or first.cfg.d_model != second.cfg.d_model:
        return
    lone = []
    if first.tokenizer is not None and second.tokenizer is not None:
        ours, theirs = first.tokenizer.get_vocab(), second.tokenizer.get_vocab()
        lone = sorted(ours.keys() ^ theirs.keys())
    tokens = f" (only one tokenizer has {', '.join(map(repr, lone[:3]))})" if lone else ""
    raise DissectError(
        f"{what} cannot be compared: their embeddings have {one} and {other} rows{tokens}; allow_extra_rows=True "
        f"(--allow-extra-rows) compares them on the first {min(one, other)}"
    )


def check_same_shapes(first: HookedTransformer, second: HookedTransformer, what: str = "these models") -> None:
    """Refuse two models between which parameters cannot be swapped."""
    ours = {name: (tuple(p.shape), p.dtype) for name, p in first.named_parameters()}
    theirs = {name: (tuple(p.shape), p.dtype) for name, p in second.named_parameters()}
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            raise DissectError(
                f"{what} cannot be compared: {name} is {_shown(ours.get(name))} in one, "
                f"{_shown(theirs.get(name))} in the other"
            )


def _shown(shape_and_dtype: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return (
        "absent"
        if shape_and_dtype is None
        else f"{list(shape_and_dtype[0])} of {str(shape_and_dtype[1]).removeprefix('torch.')}"
    )


_PROBE = "The capital of France is Paris.\nQuestion: 1 + 1 = 2?"
"""A text on which tokenizers with other rules (special tokens, spaces, digits) give other ids."""


def _check_tokenizers(first: PreTrainedTokenizerBase | None, second: PreTrainedTokenizerBase | None, what: str) -> None:
    if first is None or second is None:
        return
    ours, theirs = first.get_vocab(), second.get_vocab()
    moved = sorted(token for token in ours.keys() & theirs.keys() if ours[token] != theirs[token])
    if moved:
        token = moved[0]
        raise DissectError(
            f"the tokenizers of {what} differ: token {token!r} is {ours[token]} in one, {theirs[token]} in the other"
        )
    # An added padding token is common in fine-tuned checkpoints and changes no text's ids; a missing word does.
    added = set(first.get_added_vocab()) | set(second.get_added_vocab())
    lone = sorted((ours.keys() ^ theirs.keys()) - added)
    if lone:
        raise DissectError(f"the tokenizers of {what} differ: only one has the token {lone[0]!r}")
    say_chat_templates(first, second, what)
    _say_special(first, second, what)
    ours_ids, their_ids = first(_PROBE)["input_ids"], second(_PROBE)["input_ids"]
    if ours_ids != their_ids:
        _check_bos(first, second, ours_ids, their_ids, what)
        raise DissectError(
            f"the tokenizers of {what} differ: a test sentence becomes {ours_ids[:8]}... and {their_ids[:8]}..."
        )


def _say_special(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase, what: str) -> None:
    """Name what differs and is mostly harmless: an added token that no prompt uses, the token that ends an answer."""
    ours, theirs = first.get_vocab(), second.get_vocab()
    if lone := sorted(ours.keys() ^ theirs.keys()):
        more = f" and {len(lone) - 3} more" if len(lone) > 3 else ""
        shown = ", ".join(map(repr, lone[:3])) + more
        log.warning("the tokenizers of %s: only one has the added %s, harmless where no text uses it", what, shown)
    if first.eos_token != second.eos_token:
        log.warning(
            "the tokenizers of %s differ in the EOS (%r and %r): answers of the two end with different tokens",
            what,
            first.eos_token,
            second.eos_token,
        )


def _check_bos(
    first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase, one: list[int], other: list[int], what: str
) -> None:
    """Name a difference that is the BOS alone."""
    (longer, ids), (_, rest) = sorted([(first, one), (second, other)], key=lambda pair: -len(pair[1]))
    if ids[1:] == rest:
        adds, lacks = what.split(" and ") if longer is first else reversed(what.split(" and "))
        bos = longer.decode(ids[:1])
        raise DissectError(
            f"the tokenizers of {what} differ in the BOS alone: that of {adds} puts {bos!r} in front, "
            f"that of {lacks} nothing; copy the files of the right tokenizer into the other directory"
        )


def say_chat_templates(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase, what: str) -> None:
    """Name a pair whose chat templates differ: sweeps make prompts with one of the two for both models."""
    ours, theirs = (getattr(tokenizer, "chat_template", None) or "" for tokenizer in (first, second))
    if ours == theirs:
        return
    if isinstance(ours, str) and isinstance(theirs, str) and ours and theirs:
        pairs = enumerate(zip(ours, theirs, strict=False))
        at = next((i for i, (mine, yours) in pairs if mine != yours), min(len(ours), len(theirs)))
        log.warning(
            "the chat templates of %s differ, from character %d on (%r and %r): prompts of a sweep are made with the "
            "first's and put to both, an evaluation asks each in its own",
            what,
            at,
            ours[at : at + 30],
            theirs[at : at + 30],
        )
        return
    log.warning("the chat templates of %s differ: %s", what, _held(bool(ours), bool(theirs)))


def _held(first: bool, second: bool) -> str:
    if first and second:
        return "they are named in one and a single one in the other"
    return f"only the {'first' if first else 'second'} has one"
