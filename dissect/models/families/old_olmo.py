"""OLMo in the layout of its authors' own code (`hf_olmo`): fused projections, other names, other keys.

Nothing of that code is run. Names, order and keys are those of transformers' conversion of the same checkpoints: the
fused projection holds queries, keys and values; of the fused MLP projection the first half is the linear part, the
second the gate; heads rotate their halves, as everywhere else.
"""

from collections.abc import Mapping
from typing import Any

from dissect.errors import DissectError
from dissect.models.families.family import Family, HookedWidths, NativeConfig
from dissect.models.families.keys import refuse
from dissect.models.families.olmo import OLMO, olmo_settings
from dissect.models.families.weights import Weight, linear, out_of_heads, table

_PREFIX = "model.transformer."
# fmt: off
_FIXED: dict[str, tuple[Any, ...]] = {
    "alibi": (False,), "rope": (True,), "include_bias": (False,), "bias_for_layer_norm": (False,),
    "attention_layer_norm": (False,), "layer_norm_type": ("default",), "layer_norm_with_affine": (False,),
    "activation_type": ("swiglu",), "block_type": ("sequential",), "scale_logits": (False,), "norm_after": (False,),
    "embedding_layer_norm": (False,), "layer_norm_eps": (1e-5,),
}
"""Keys that change what the model computes, with the values that transformers' OLMo has.

Where one is absent the tensors tell: biases, weights of norms and a table of positions would be left over."""
_HONOURED = frozenset((
    "d_model", "n_heads", "n_kv_heads", "multi_query_attention", "n_layers", "mlp_ratio", "mlp_hidden_size",
    "vocab_size", "embedding_size", "max_sequence_length", "weight_tying", "clip_qkv", "rope_theta",
))
_HARMLESS = frozenset((
    "alibi_bias_max", "attention_dropout", "residual_dropout", "embedding_dropout", "block_group_size",
    "flash_attention", "init_cutoff_factor", "init_device", "init_fn", "init_std", "emb_init_std", "scale_emb_init",
    "precision", "rope_full_precision", "use_cache", "auto_map", "torch_dtype", "quantization_config",
    "eos_token_id", "pad_token_id", "bos_token_id", "model_type", "architectures",
    "attention_layer_norm_with_affine",  # read only beside attention_layer_norm
))
"""Keys that say where weights start, what is dropped in training, or how it is computed."""
# fmt: on


def _translate(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of transformers' OLMo, from those of the authors' code.

    Raises:
        DissectError: a key is missing, or what it says cannot be expressed.
    """
    for key, allowed in _FIXED.items():
        if config.get(key) is not None and config[key] not in allowed:
            raise refuse(f"{key} = {config[key]!r}", f"{key} {str(allowed[0]).lower()}")
    from transformers.configuration_utils import PretrainedConfig

    known = _FIXED.keys() | _HONOURED | _HARMLESS | vars(PretrainedConfig()).keys()
    unknown = sorted(key for key in config if key not in known and not key.startswith("_"))
    if unknown:  # no code of transformers could say that it is passed over
        raise refuse(f"{unknown[0]} = {config[unknown[0]]!r}, which OLMo does not know", "the keys of OLMo 1 to 1.7")
    try:
        width, heads = config["d_model"], config["n_heads"]
        inner = config.get("mlp_hidden_size") or config["mlp_ratio"] * width
        rows = config.get("embedding_size") or config["vocab_size"]
        layers, context = config["n_layers"], config["max_sequence_length"]
    except KeyError as error:
        raise DissectError(f"config.json: an OLMo in the older layout needs {error}") from None
    groups = config.get("n_kv_heads") or (1 if config.get("multi_query_attention") else heads)
    return {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "num_hidden_layers": layers,
        "intermediate_size": inner // 2,  # it counts both halves of the fused projection
        "vocab_size": rows,
        "max_position_embeddings": context,
        "tie_word_embeddings": bool(config.get("weight_tying", True)),  # the authors' own default
        "clip_qkv": config.get("clip_qkv"),
        "rope_theta": float(config.get("rope_theta") or 10000.0),
        "attention_bias": False,
        "pad_token_id": config.get("pad_token_id"),
        "bos_token_id": config.get("bos_token_id"),
        "eos_token_id": config.get("eos_token_id"),
    }


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    shared, n_shared = ("", cfg.n_heads) if cfg.n_key_value_heads is None else ("_", cfg.n_key_value_heads)
    weights = [table(f"{_PREFIX}wte.weight", "embed.W_E")]
    for layer in range(cfg.n_layers):
        theirs, ours = f"{_PREFIX}blocks.{layer}", f"blocks.{layer}"
        weights += [
            Weight(
                f"{theirs}.att_proj.weight",
                (f"{ours}.attn.W_Q", f"{ours}.attn.{shared}W_K", f"{ours}.attn.{shared}W_V"),
                "(n h) d_model -> n d_model h",
                {"h": cfg.d_head},
                (cfg.n_heads, n_shared, n_shared),
            ),
            out_of_heads(f"{theirs}.attn_out.weight", f"{ours}.attn.W_O", cfg.d_head),
            Weight(
                f"{theirs}.ff_proj.weight",
                (f"{ours}.mlp.W_in", f"{ours}.mlp.W_gate"),
                "d_mlp d_model -> d_model d_mlp",
                sizes=(config.intermediate_size,) * 2,
                axis=1,
            ),
            linear(f"{theirs}.ff_out.weight", f"{ours}.mlp.W_out"),
        ]
    return weights


OLD_OLMO = Family(
    "OLMoForCausalLM",
    "hf_olmo",
    olmo_settings,
    _weights,
    prefix=_PREFIX,
    other_prefixes=("transformer.",),
    embedding="wte.weight",
    head=f"{_PREFIX}ff_out.weight",
    unit_norms=True,
    keys=OLMO.keys,
    other_types=("olmo",),
    computes_as=OLMO.architecture,
    native_type="olmo",
    owns=lambda config: "d_model" in config,
    translate=_translate,
)
