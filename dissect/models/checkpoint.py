"""The checkpoint that a loaded model came from, as the model remembers it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xxhash
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.families import FAMILIES, transformers_config, weight_map
from dissect.models.families.weights import Weight


@dataclass(frozen=True, eq=False)
class CheckpointInfo:
    """Origin of a model, and what is needed to write it back. It is ``model.checkpoint``."""

    path: Path
    """Directory of the files; of the base model where an adapter was merged."""
    source: str
    """The directory or hub id that the user asked for."""
    revision: str | None
    """Revision of a hub id."""
    adapter: Path | None
    """Directory of the LoRA adapter that was merged."""
    config: dict[str, Any]
    """Contents of ``config.json``."""
    generation_config: dict[str, Any] | None
    """Contents of ``generation_config.json``."""
    architecture: str
    """Architecture, for example ``LlamaForCausalLM``."""
    dtype: str
    """Dtype of most of the stored weights, for example ``bfloat16``."""
    fingerprint: str
    """Hash (xxh3, 128 bits, hex) of every stored weight as it was read, and of the configuration.

    The same for any sharding and any dtype or device that the model was loaded with; another for any other weight.
    """
    digests: Mapping[str, str]
    """Hash of each stored tensor, by transformers' name: tells a tensor that is read again from another."""
    tied: bool
    """True if the output head is the embedding; then ``unembed.W_U`` is no parameter but a view of ``embed.W_E``."""
    frozen: frozenset[str]
    """Parameters that the checkpoint does not have: constants that TransformerLens adds, without gradient."""
    padding_side: str
    """The tokenizer's own, before it was set to ``right``."""
    on_disk: bool = True
    """True if the model's weights are those of the files; training and transplants make them others."""
    quantised: str = ""
    """The format that its matrices are rounded to, if they are; see ``dissect.quantised``."""

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where the files lie that may be read again: of the model, and of its adapter."""
        return (self.path,) if self.adapter is None else (self.path, self.adapter)


def mark_changed(model: HookedTransformer, why: str) -> None:
    """Say that the weights are no longer those of the files; ``why`` tells one change from another in the fingerprint.

    Models that were not loaded from files are left alone.
    """
    info = checkpoint_or_none(model)
    if info is not None:
        fingerprint = xxhash.xxh3_128(f"{info.fingerprint} {why}".encode()).hexdigest()
        model.checkpoint = replace(info, fingerprint=fingerprint, on_disk=False)


def checkpoint_or_none(model: HookedTransformer) -> CheckpointInfo | None:
    """The checkpoint of a model; None where the model was not loaded by dissect."""
    info = getattr(model, "checkpoint", None)
    return info if isinstance(info, CheckpointInfo) else None


def checkpoint_of(model: HookedTransformer) -> CheckpointInfo:
    """The checkpoint of a model.

    Raises:
        DissectError: the model was not loaded by dissect.
    """
    info = checkpoint_or_none(model)
    if info is None:
        raise DissectError("this model was not loaded with dissect.load, so it has no Hugging Face form to go back to")
    return info


def weights_of(model: HookedTransformer) -> list[Weight]:
    """The map between the parameters of ``model`` and the tensors of its checkpoint."""
    info = checkpoint_of(model)
    family = next(each for each in FAMILIES if each.architecture == info.architecture)
    return weight_map(family, transformers_config(family, info.config), model.cfg)
