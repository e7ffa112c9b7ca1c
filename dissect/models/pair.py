"""Two or three checkpoints that can be compared."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from transformer_lens import HookedTransformer
from transformers import PreTrainedTokenizerBase

from dissect.errors import DissectError
from dissect.models.alignment import Alignment, align
from dissect.models.load import load

ROLES = ("base", "unlearned", "retain")

_MAY_DIFFER = {
    *("model_name", "tokenizer_name", "tokenizer_prepends_bos", "default_prepend_bos", "trust_remote_code"),
    *("device", "n_devices", "dtype", "seed", "init_mode", "initializer_range", "init_weights"),
    *("n_ctx", "n_params", "from_checkpoint", "checkpoint_index", "checkpoint_label_type", "checkpoint_value"),
}
"""Fields of a model's configuration that do not enter what it computes."""


@dataclass(frozen=True, eq=False)
class ModelPair:
    """The same model before and after unlearning; with ``retain``, also one trained without the forgotten data.

    Raises:
        DissectError: the models cannot be compared: another architecture, size, number format, vocabulary or
            tokenizer. The message names the first difference and both values.
    """

    base: HookedTransformer = field(repr=False)
    unlearned: HookedTransformer = field(repr=False)
    retain: HookedTransformer | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for role in ("unlearned", "retain"):
            other = getattr(self, role)
            if other is not None:
                check_comparable(self.base, other, f"base and {role}")

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that the models share.

        Raises:
            DissectError: the checkpoints came without one.
        """
        tokenizer = self.base.tokenizer or self.unlearned.tokenizer
        if tokenizer is None:
            raise DissectError("these checkpoints came without a tokenizer: put its files into the base's directory")
        return tokenizer

    @cached_property
    def alignment(self) -> Alignment:
        """How far apart the parameters of base and unlearned are, block by block; computed when first asked for."""
        return align(self.base, self.unlearned)

    def roles(self, donor: str, recipient: str) -> tuple[HookedTransformer, HookedTransformer]:
        """The models that play donor and recipient.

        Raises:
            DissectError: an unknown role, or ``retain`` where the pair has none.
        """
        return self._role(donor), self._role(recipient)

    def provenance(self) -> dict[str, Any]:
        """Path and fingerprint of each checkpoint, for the attributes of results."""
        found = {}
        for role in ROLES:
            checkpoint = getattr(getattr(self, role), "checkpoint", None)
            if checkpoint is not None:
                found[f"{role}_path"] = str(checkpoint.path)
                found[f"{role}_fingerprint"] = checkpoint.fingerprint
        return found

    def __repr__(self) -> str:
        cfg = self.base.cfg
        lines = [f"ModelPair: {cfg.original_architecture}, {cfg.n_layers} layers of width {cfg.d_model}"]
        for role in ROLES:
            checkpoint = getattr(getattr(self, role), "checkpoint", None)
            if checkpoint is not None:
                lines.append(f"  {role:<10}{checkpoint.path}")
        return "\n".join(lines)

    def _role(self, name: str) -> HookedTransformer:
        if name not in ROLES:
            raise DissectError(f"no model {name!r} in a pair: choose from {', '.join(ROLES)}")
        model = getattr(self, name)
        if model is None:
            raise DissectError("the pair has no retain model: load_pair(base, unlearned, retain=...)")
        return model


def load_pair(
    base: str | os.PathLike[str] | HookedTransformer,
    unlearned: str | os.PathLike[str] | HookedTransformer,
    *,
    retain: str | os.PathLike[str] | HookedTransformer | None = None,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device | None = None,
    progress: bool = True,
) -> ModelPair:
    """Load checkpoints that are to be compared; models that are loaded already are taken as they are.

    Args:
        base, unlearned, retain: as for ``dissect.load``: directories, hub ids, adapters.
        dtype, device: of all of them.

    Raises:
        DissectError: one cannot be loaded, or they cannot be compared.
    """

    def get(source: str | os.PathLike[str] | HookedTransformer) -> HookedTransformer:
        if isinstance(source, HookedTransformer):
            return source
        return load(source, dtype=dtype, device=device, progress=progress)

    return ModelPair(get(base), get(unlearned), None if retain is None else get(retain))


def check_comparable(first: HookedTransformer, second: HookedTransformer, what: str) -> None:
    """Refuse two models whose activations or tokens do not mean the same."""
    check_same_shapes(first, second, what)
    ours, theirs = first.cfg.to_dict(), second.cfg.to_dict()
    for key in ours:
        if key not in _MAY_DIFFER and ours[key] != theirs.get(key):
            raise DissectError(
                f"{what} cannot be compared: {key} is {ours[key]!r} in one, {theirs.get(key)!r} in the other"
            )
    _check_tokenizers(first.tokenizer, second.tokenizer, what)


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


def _shown(found: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return "absent" if found is None else f"{list(found[0])} of {str(found[1]).removeprefix('torch.')}"


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
    one, other = first(_PROBE)["input_ids"], second(_PROBE)["input_ids"]
    if one != other:
        raise DissectError(f"the tokenizers of {what} differ: a test sentence becomes {one[:8]}... and {other[:8]}...")
