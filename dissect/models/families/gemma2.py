"""Gemma-2: norms before and after each part, soft caps, alternating sliding windows, a scaled embedding."""

import math
from typing import TYPE_CHECKING, Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, local_attention
from dissect.models.families.keys import DECODER, keys, refuse
from dissect.models.families.llama import decoder_settings, decoder_weights
from dissect.models.families.weights import Weight

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

SANDWICHED = {
    "input_layernorm": "ln1",
    "post_attention_layernorm": "ln1_post",
    "pre_feedforward_layernorm": "ln2",
    "post_feedforward_layernorm": "ln2_post",
}
"""Norms before and after each part, transformers' name to TransformerLens's."""
NO_CAP = -1.0
"""How TransformerLens writes that there is no soft cap."""


def _settings(config: NativeConfig) -> dict[str, Any]:
    return decoder_settings(
        config,
        act=config.hidden_activation,
        use_normalization_before_and_after=True,
        attn_scale=math.sqrt(config.query_pre_attn_scalar),
        attn_scores_soft_cap=soft_cap(config, "attn_logit_softcapping"),
        output_logits_soft_cap=soft_cap(config, "final_logit_softcapping"),
        **local_attention(config.layer_types, config.sliding_window),
    )


def soft_cap(config: NativeConfig, key: str) -> float:
    """The cap that a configuration has under ``key``.

    Raises:
        DissectError: one that is not positive; transformers divides by it.
    """
    cap = getattr(config, key)
    if cap is not None and not cap > 0:
        raise refuse(f"{key} = {cap!r}", "a positive number, or null for none")
    return NO_CAP if cap is None else float(cap)


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    bias = config.attention_bias
    return decoder_weights(config, cfg, norms=SANDWICHED, qkv_bias=bias, output_bias=bias)


def adapt(model: "HookedTransformer") -> None:
    """Scale the embedding and shift the norms as they run, so that the parameters stay those of the checkpoint."""
    from transformer_lens.components import RMSNorm

    from dissect.models.modules import OffsetRMSNorm, ScaledEmbed

    model.embed = ScaledEmbed(model.cfg, scale=model.cfg.d_model**0.5)
    for name, module in list(model.named_modules()):
        if isinstance(module, RMSNorm):
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, OffsetRMSNorm(model.cfg, module.length))


GEMMA = (*DECODER, "attention_bias")
"""Keys that every Gemma honours."""
GEMMA2 = Family(
    "Gemma2ForCausalLM",
    "gemma2",
    _settings,
    _weights,
    adapt=adapt,
    keys=keys(
        *(*GEMMA, "hidden_activation", "layer_types", "sliding_window", "query_pre_attn_scalar"),
        *("attn_logit_softcapping", "final_logit_softcapping"),
    ),
)
