"""GPT-Neo: GPT-2 with local attention in some layers and attention scores that are not scaled."""

from typing import Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, activation, local_attention
from dissect.models.families.keys import keys
from dissect.models.families.weights import Weight, into_heads, linear, out_of_heads, table, vector


def _settings(config: NativeConfig) -> dict[str, Any]:
    return {
        "n_layers": config.num_layers,
        "d_model": config.hidden_size,
        "n_ctx": config.max_position_embeddings,
        "d_head": config.hidden_size // config.num_heads,
        "n_heads": config.num_heads,
        "d_mlp": config.intermediate_size or 4 * config.hidden_size,
        "d_vocab": config.vocab_size,
        "act_fn": activation(config.activation_function),
        "normalization_type": "LN",
        "eps": config.layer_norm_epsilon,
        "positional_embedding_type": "standard",
        "use_attn_scale": False,
        **local_attention(config.attention_layers, config.window_size),
    }


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    weights = [table("transformer.wte.weight", "embed.W_E"), table("transformer.wpe.weight", "pos_embed.W_pos")]
    for layer in range(cfg.n_layers):
        theirs, ours = f"transformer.h.{layer}", f"blocks.{layer}"
        attention = f"{theirs}.attn.attention"
        for name, param in {"ln_1": "ln1", "ln_2": "ln2"}.items():
            weights += [vector(f"{theirs}.{name}.weight", f"{ours}.{param}.w")]
            weights += [vector(f"{theirs}.{name}.bias", f"{ours}.{param}.b")]
        for name, param in {"q_proj": "W_Q", "k_proj": "W_K", "v_proj": "W_V"}.items():
            weights.append(into_heads(f"{attention}.{name}.weight", f"{ours}.attn.{param}", cfg.d_head))
        weights += [
            out_of_heads(f"{attention}.out_proj.weight", f"{ours}.attn.W_O", cfg.d_head),
            vector(f"{attention}.out_proj.bias", f"{ours}.attn.b_O"),
            linear(f"{theirs}.mlp.c_fc.weight", f"{ours}.mlp.W_in"),
            vector(f"{theirs}.mlp.c_fc.bias", f"{ours}.mlp.b_in"),
            linear(f"{theirs}.mlp.c_proj.weight", f"{ours}.mlp.W_out"),
            vector(f"{theirs}.mlp.c_proj.bias", f"{ours}.mlp.b_out"),
        ]
    return [*weights, vector("transformer.ln_f.weight", "ln_final.w"), vector("transformer.ln_f.bias", "ln_final.b")]


GPT_NEO = Family(
    "GPTNeoForCausalLM",
    "gpt_neo",
    _settings,
    _weights,
    prefix="transformer.",
    embedding="wte.weight",
    keys=keys(
        *("num_heads", "num_layers", "intermediate_size", "max_position_embeddings", "activation_function"),
        *("attention_types", "attention_layers", "window_size", "layer_norm_epsilon"),
    ),
)
