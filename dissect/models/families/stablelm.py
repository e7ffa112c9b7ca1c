"""StableLM and StableLM-2: Llama with layer norms and partly rotated heads, in some sizes side by side."""

from typing import TYPE_CHECKING, Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig
from dissect.models.families.keys import keys
from dissect.models.families.llama import NORMS, decoder_settings, decoder_weights
from dissect.models.families.phi import share_norm
from dissect.models.families.weights import Weight

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


def _settings(config: NativeConfig) -> dict[str, Any]:
    return decoder_settings(
        config,
        normalization_type="LN",
        eps=config.layer_norm_eps,
        parallel_attn_mlp=config.use_parallel_residual,
    )


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    norms = {"input_layernorm": "ln1"} if config.use_parallel_residual else NORMS
    return decoder_weights(config, cfg, norms=norms, norm_bias=True, qkv_bias=config.use_qkv_bias)


def _adapt(model: "HookedTransformer") -> None:
    if model.cfg.parallel_attn_mlp:
        share_norm(model)


STABLELM = Family(
    "StableLmForCausalLM",
    "stablelm",
    _settings,
    _weights,
    adapt=_adapt,
    keys=keys(
        *("num_key_value_heads", "head_dim", "intermediate_size", "hidden_act", "max_position_embeddings"),
        *("rope_parameters", "partial_rotary_factor", "layer_norm_eps", "use_qkv_bias", "use_parallel_residual"),
        qk_layernorm=(False,),  # a norm with parameters of its own for every head
    ),
)
