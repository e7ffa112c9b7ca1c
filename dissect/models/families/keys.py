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
BY_LAYER_TYPE = "rope_parameters[layer_type]"
"""Honoured by families whose layers rotate by their type; with the others `rope_parameters` is one set."""
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
                raise refuse(f"{key} = {value!r}", f"{key} {choices}")
        if getattr(config, "per_layer_config", None) and getattr(config, "is_heterogeneous", False):
            raise refuse("layers of different shapes (per_layer_config)", "layers of one shape")
        self._check_windows(config)
        self._check_rotation(config)

    def _check_windows(self, config: Any) -> None:
        """Refuse windows that the family's own code does not read.

        transformers' caches take them from any configuration, so that a continuation would differ from one forward
        pass; and a Mistral whose layers differ is loaded as another architecture, Ministral.
        """
        kinds, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
        windowed = "sliding_window" in self.honoured and window is not None
        if "layer_types" not in self.honoured and kinds:
            implied = "sliding_attention" if windowed else "full_attention"
            if other := [kind for kind in kinds if kind != implied]:
                raise refuse(f"layer_types with {other[0]!r}", f"{implied!r} in every layer")
        if "sliding_window" not in self.honoured and window is not None:
            context = getattr(config, "max_position_embeddings", None)
            if not isinstance(window, int) or not isinstance(context, int) or window < context:
                raise refuse(f"sliding_window = {window!r}", f"none, or one as long as the context ({context})")

    def _check_rotation(self, config: Any) -> None:
        """Refuse parameters of the rotary embedding that the family's own code does not read."""
        parameters = getattr(config, "rope_parameters", None) or {}
        nested = [key for key, value in parameters.items() if isinstance(value, Mapping)]
        if nested and BY_LAYER_TYPE not in self.honoured:
            raise refuse(f"rope_parameters by layer type ({', '.join(nested)})", "one set for all layers")
        if nested and (loose := [key for key in parameters if key not in nested]):
            raise refuse(f"rope_parameters by layer type and {loose[0]!r} for all", "one of the two")
        for each in [parameters[key] for key in nested] or [parameters]:
            for key, value in each.items():
                if isinstance(value, str) and key not in ("rope_type", "type"):
                    raise DissectError(f"config.json: rope_parameters: {key} must be a number, got {value!r}")
            part = each.get("partial_rotary_factor")
            if "partial_rotary_factor" not in self.honoured and part is not None and part != 1:
                raise refuse(f"partial_rotary_factor = {part!r}", "heads that are rotated whole")


def refuse(feature: str, supported: str) -> DissectError:
    """The error for a feature that a hooked model cannot express."""
    return DissectError(f"this checkpoint cannot be a HookedTransformer: it has {feature}; supported: {supported}")


def keys(*honoured: str, unread: tuple[str, ...] = (), **fixed: tuple[Any, ...]) -> Keys:
    """The honoured keys by name, the fixed ones with their allowed values."""
    return Keys(frozenset(honoured), fixed, frozenset(unread))


DECODER = (
    *("num_key_value_heads", "head_dim", "intermediate_size", "hidden_act", "max_position_embeddings"),
    *("rope_parameters", "rms_norm_eps"),
)
"""Keys that decoders with rotary positions and RMS norms honour."""
