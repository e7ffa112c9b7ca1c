"""OPT: GPT-2 with separate projections, ReLU, and a table of positions whose first rows no text uses."""

from typing import TYPE_CHECKING, Any

from dissect.models.families.family import Family, HookedWidths, NativeConfig, activation
from dissect.models.families.keys import keys, refuse
from dissect.models.families.weights import Weight, head_bias, into_heads, linear, out_of_heads, table, vector

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

_UNUSED_ROWS = 2
"""``OPTLearnedPositionalEmbedding.offset``: the first position has the third row."""


def _settings(config: NativeConfig) -> dict[str, Any]:
    if config.word_embed_proj_dim != config.hidden_size:
        widths = f"word_embed_proj_dim = {config.word_embed_proj_dim}, hidden_size = {config.hidden_size}"
        raise refuse(f"embeddings of another width than its layers ({widths})", "one width")
    return {
        "n_layers": config.num_hidden_layers,
        "d_model": config.hidden_size,
        "n_ctx": config.max_position_embeddings,
        "d_head": config.hidden_size // config.num_attention_heads,
        "n_heads": config.num_attention_heads,
        "d_mlp": config.ffn_dim,
        "d_vocab": config.vocab_size,
        "act_fn": activation(config.activation_function),
        "normalization_type": "LN",
        "eps": 1e-5,  # PyTorch's own; no configuration says it
        "positional_embedding_type": "standard",
    }


def _weights(config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    bias = config.enable_bias
    positions = Weight(
        "model.decoder.embed_positions.weight",
        ("pos_embed.W_unused", "pos_embed.W_pos"),
        "row d_model -> row d_model",
        sizes=(_UNUSED_ROWS, cfg.n_ctx),
    )
    weights = [table("model.decoder.embed_tokens.weight", "embed.W_E"), positions]
    for layer in range(cfg.n_layers):
        theirs, ours = f"model.decoder.layers.{layer}", f"blocks.{layer}"
        for name, param in {"self_attn_layer_norm": "ln1", "final_layer_norm": "ln2"}.items():
            weights += [vector(f"{theirs}.{name}.weight", f"{ours}.{param}.w")]
            weights += [vector(f"{theirs}.{name}.bias", f"{ours}.{param}.b")]
        for name, letter in {"q_proj": "Q", "k_proj": "K", "v_proj": "V"}.items():
            projection = f"{theirs}.self_attn.{name}"
            weights.append(into_heads(f"{projection}.weight", f"{ours}.attn.W_{letter}", cfg.d_head))
            if bias:
                weights.append(head_bias(f"{projection}.bias", f"{ours}.attn.b_{letter}", cfg.d_head))
        weights.append(out_of_heads(f"{theirs}.self_attn.out_proj.weight", f"{ours}.attn.W_O", cfg.d_head))
        weights += [
            linear(f"{theirs}.fc1.weight", f"{ours}.mlp.W_in"),
            linear(f"{theirs}.fc2.weight", f"{ours}.mlp.W_out"),
        ]
        if bias:
            biases = {"self_attn.out_proj": "attn.b_O", "fc1": "mlp.b_in", "fc2": "mlp.b_out"}
            weights += [vector(f"{theirs}.{name}.bias", f"{ours}.{param}") for name, param in biases.items()]
    final = "model.decoder.final_layer_norm"
    return [*weights, vector(f"{final}.weight", "ln_final.w"), vector(f"{final}.bias", "ln_final.b")]


def _adapt(model: "HookedTransformer") -> None:
    """Keep the rows that no text uses beside those of the positions, so that they are saved as they were."""
    import torch
    from torch import nn

    shape = (_UNUSED_ROWS, model.cfg.d_model)
    model.pos_embed.W_unused = nn.Parameter(torch.empty(shape, dtype=model.cfg.dtype))


OPT = Family(
    "OPTForCausalLM",
    "opt",
    _settings,
    _weights,
    embedding="decoder.embed_tokens.weight",
    adapt=_adapt,
    keys=keys(
        *("ffn_dim", "max_position_embeddings", "activation_function", "word_embed_proj_dim", "enable_bias"),
        do_layer_norm_before=(True,),
        _remove_final_layer_norm=(False,),
        layer_norm_elementwise_affine=(True,),
    ),
)
