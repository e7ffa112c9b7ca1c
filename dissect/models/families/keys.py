"""Treatment of each key of a ``config.json``: honoured, harmless, or required to have one value.

A key that transformers' modelling code reads and that nothing here honours would change the numbers in silence. So
every family lists the keys that it honours and those that it can have in one value only; what is harmless is listed
here. A test reads the source of transformers and fails on any key that is in none of the lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dissect.errors import DissectError

# fmt: off
HARMLESS: frozenset[str] = frozenset((
    # rates of what is dropped in transformers' training mode; nothing is dropped here, as in its evaluation mode
    "attention_dropout", "attn_pdrop", "embd_pdrop", "embed_dropout", "resid_pdrop", "resid_dropout", "hidden_dropout",
    "dropout", "layerdrop", "classifier_dropout", "summary_first_dropout", "summary_last_dropout",
    # where weights start
    "initializer_range", "init_std",
    # how it is computed, not what
    "_attn_implementation", "use_cache", "output_attentions", "output_hidden_states", "return_dict", "dtype",
    "reorder_and_upcast_attn", "pretraining_tp", "chunk_size_feed_forward", "transformers_version",
    # ids that only generation and padding read; those of generation come from generation_config.json
    "pad_token_id", "bos_token_id", "eos_token_id",
    # heads of other tasks
    "num_labels", "problem_type", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
    "id2label", "label2id",
    "architectures", "model_type", "is_decoder",
))
"""Keys that change no logit of a language model in evaluation mode."""
ALWAYS: frozenset[str] = frozenset((
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "tie_word_embeddings",
))
"""Keys that every family honours."""
# fmt: on
_COMMON_FIXED: dict[str, tuple[Any, ...]] = {
    "is_causal": (True, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "use_bidirectional_attention": (False, None),
    "pruned_heads": ({}, None),
}
"""Keys that change what any model computes, with the values that a hooked model has."""


@dataclass(frozen=True)
class Keys:
    """Treatment of the keys of a family's configuration."""

    honoured: frozenset[str] = frozenset()
    """Keys that enter the settings or the weight map."""
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Keys whose other values a hooked model cannot express, with the values that it can."""
    unread: frozenset[str] = frozenset()
    """Keys that transformers stores, but whose values enter nothing that it computes for this family."""

    def known(self, key: str) -> bool:
        """Return True if the treatment of ``key`` is declared."""
        return key in HARMLESS | ALWAYS | self.honoured | self.unread or key in self.fixed or key in _COMMON_FIXED

    def check(self, config: Any) -> None:
        """Refuse values of transformers' configuration that a hooked model cannot express.

        Raises:
            DissectError: names the key, its value and the values that are supported.
        """
        for key, allowed in {**_COMMON_FIXED, **self.fixed}.items():
            value = getattr(config, key, None)
            if value is not None and value not in allowed:
                choices = " or ".join(dict.fromkeys(str(each).lower() for each in allowed if each is not None))
                raise DissectError(
                    f"this checkpoint cannot be a HookedTransformer: it has {key} = {value!r}; "
                    f"supported: {key} {choices}"
                )
        if getattr(config, "per_layer_config", None) and getattr(config, "is_heterogeneous", False):
            raise DissectError(
                "this checkpoint cannot be a HookedTransformer: it has layers of different shapes (per_layer_config); "
                "supported: layers of one shape"
            )


def keys(*honoured: str, unread: tuple[str, ...] = (), **fixed: tuple[Any, ...]) -> Keys:
    """The honoured keys by name, the fixed ones with their allowed values."""
    return Keys(frozenset(honoured), fixed, frozenset(unread))


DECODER = (
    *("num_key_value_heads", "head_dim", "intermediate_size", "hidden_act", "max_position_embeddings"),
    *("rope_parameters", "rms_norm_eps"),
)
"""Keys that decoders with rotary positions and RMS norms honour."""
