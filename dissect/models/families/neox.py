"""GPT-NeoX and Pythia: attention and MLP side by side, partly rotated heads, interleaved fused projections."""

from typing import Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, activation, head_width
from dissect.models.families.keys import keys
from dissect.models.families.rope import rotary
from dissect.models.families.weights import Weight, linear, out_of_heads, table, vector


def _settings(config: NativeConfig) -> dict[str, Any]:
    d_head = head_width(config)
    return {
        "n_layers": config.num_hidden_layers,
        "d_model": config.hidden_size,
        "n_ctx": config.max_position_embeddings,
        "d_head": d_head,
        "n_heads": config.num_attention_heads,
        "d_mlp": config.intermediate_size,
        "d_vocab": config.vocab_size,
        "act_fn": activation(config.hidden_act),
        "normalization_type": "LN",
        "eps": config.layer_norm_eps,
        "parallel_attn_mlp": config.use_parallel_residual,
        **rotary(config, d_head),
    }


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    weights = [table("gpt_neox.embed_in.weight", "embed.W_E")]
    # Each head's query, key and value rows stand together: (head, which of the three, width).
    heads, three = {"three": 3, "h": cfg.d_head}, (cfg.n_heads,) * 3
    for layer in range(cfg.n_layers):
        theirs, ours = f"gpt_neox.layers.{layer}", f"blocks.{layer}"
        fused = f"{theirs}.attention.query_key_value"
        for name, param in {"input_layernorm": "ln1", "post_attention_layernorm": "ln2"}.items():
            weights += [vector(f"{theirs}.{name}.weight", f"{ours}.{param}.w")]
            weights += [vector(f"{theirs}.{name}.bias", f"{ours}.{param}.b")]
        matrices = tuple(f"{ours}.attn.W_{letter}" for letter in "QKV")
        weights.append(Weight(f"{fused}.weight", matrices, "(n three h) d_model -> (three n) d_model h", heads, three))
        weights.append(out_of_heads(f"{theirs}.attention.dense.weight", f"{ours}.attn.W_O", cfg.d_head))
        if config.attention_bias:
            biases = tuple(f"{ours}.attn.b_{letter}" for letter in "QKV")
            weights.append(Weight(f"{fused}.bias", biases, "(n three h) -> (three n) h", heads, three))
            weights.append(vector(f"{theirs}.attention.dense.bias", f"{ours}.attn.b_O"))
        weights += [
            linear(f"{theirs}.mlp.dense_h_to_4h.weight", f"{ours}.mlp.W_in"),
            vector(f"{theirs}.mlp.dense_h_to_4h.bias", f"{ours}.mlp.b_in"),
            linear(f"{theirs}.mlp.dense_4h_to_h.weight", f"{ours}.mlp.W_out"),
            vector(f"{theirs}.mlp.dense_4h_to_h.bias", f"{ours}.mlp.b_out"),
        ]
    final = "gpt_neox.final_layer_norm"
    return [*weights, vector(f"{final}.weight", "ln_final.w"), vector(f"{final}.bias", "ln_final.b")]


NEOX = Family(
    "GPTNeoXForCausalLM",
    "gpt_neox",
    _settings,
    _weights,
    prefix="gpt_neox.",
    embedding="embed_in.weight",
    head="embed_out.weight",  # lm_head in memory since transformers 5.14, which reads both and writes this one
    other_heads=("lm_head.weight",),
    keys=keys(
        *("head_dim", "intermediate_size", "hidden_act", "max_position_embeddings", "rope_parameters"),
        *("partial_rotary_factor", "layer_norm_eps", "use_parallel_residual", "attention_bias"),
    ),
)
