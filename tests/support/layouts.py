"""Checkpoints whose files transformers does not write itself: made from its own by renaming, with the way back."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, OlmoConfig, OlmoForCausalLM, PreTrainedModel

from tests.support.tiny import CONTEXT, VOCABULARY, make_model, make_tokenizer, randomise

OLD_OLMO: dict[str, Any] = {
    "activation_type": "swiglu",
    "alibi": False,
    "alibi_bias_max": 8.0,
    "architectures": ["OLMoForCausalLM"],
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "attention_layer_norm_with_affine": False,
    "auto_map": {"AutoModelForCausalLM": "modeling_olmo.OLMoForCausalLM"},
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "sequential",
    "clip_qkv": None,
    "d_model": 32,
    "embedding_dropout": 0.0,
    "embedding_size": VOCABULARY,
    "eos_token_id": 1,
    "flash_attention": True,
    "include_bias": False,
    "init_cutoff_factor": None,
    "init_device": "cpu",
    "init_fn": "mitchell",
    "init_std": 0.02,
    "layer_norm_type": "default",
    "layer_norm_with_affine": False,
    "max_sequence_length": CONTEXT,
    "mlp_hidden_size": 80,
    "mlp_ratio": 4,
    "model_type": "hf_olmo",
    "multi_query_attention": False,
    "n_heads": 4,
    "n_layers": 3,
    "pad_token_id": 0,
    "precision": "amp_bf16",
    "residual_dropout": 0.0,
    "rope": True,
    "rope_full_precision": True,
    "scale_logits": False,
    "transformers_version": "4.36.2",
    "use_cache": True,
    "vocab_size": VOCABULARY - 8,
    "weight_tying": False,
}
"""The keys of the published `config.json` of OLMo-7B, with small numbers."""


def old_olmo_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The tensors of transformers' OLMo, fused and named as in the authors' own files."""
    theirs = model.state_dict()
    tensors = {"model.transformer.wte.weight": theirs["model.embed_tokens.weight"]}
    if not model.config.tie_word_embeddings:
        tensors["model.transformer.ff_out.weight"] = theirs["lm_head.weight"]
    for layer in range(model.config.num_hidden_layers):
        new, old = f"model.transformer.blocks.{layer}", f"model.layers.{layer}"
        qkv = [theirs[f"{old}.self_attn.{name}_proj.weight"] for name in "qkv"]
        halves = [theirs[f"{old}.mlp.{name}_proj.weight"] for name in ("up", "gate")]
        tensors |= {
            f"{new}.att_proj.weight": torch.cat(qkv),
            f"{new}.attn_out.weight": theirs[f"{old}.self_attn.o_proj.weight"],
            f"{new}.ff_proj.weight": torch.cat(halves),
            f"{new}.ff_out.weight": theirs[f"{old}.mlp.down_proj.weight"],
        }
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


def make_old_olmo(path: Path, *, seed: int = 0, binary: bool = False, **changes: Any) -> PreTrainedModel:
    """Write an OLMo in the authors' layout; returns transformers' OLMo with the same weights."""
    old = OLD_OLMO | changes
    settings = {
        "tie_word_embeddings": old["weight_tying"],
        "clip_qkv": old["clip_qkv"],
        "num_key_value_heads": old.get("n_kv_heads") or (1 if old["multi_query_attention"] else 4),
        "intermediate_size": (old["mlp_hidden_size"] or old["mlp_ratio"] * 32) // 2,
    }
    model = make_model("olmo", seed=seed, **settings)
    path.mkdir(parents=True, exist_ok=True)
    tensors = old_olmo_tensors(model)
    if binary:
        torch.save(tensors, path / "pytorch_model.bin")
    else:
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(old))
    make_tokenizer(bos=False).save_pretrained(path)
    return model


def read_old_olmo(path: Path) -> PreTrainedModel:
    """transformers' OLMo with the weights of files in the authors' layout."""
    tensors, old = load_file(path / "model.safetensors"), json.loads((path / "config.json").read_text())
    heads = old.get("n_kv_heads") or (1 if old["multi_query_attention"] else old["n_heads"])
    config = OlmoConfig(
        vocab_size=old["embedding_size"],
        hidden_size=old["d_model"],
        num_hidden_layers=old["n_layers"],
        num_attention_heads=old["n_heads"],
        num_key_value_heads=heads,
        intermediate_size=(old["mlp_hidden_size"] or old["mlp_ratio"] * old["d_model"]) // 2,
        tie_word_embeddings=old["weight_tying"],
        clip_qkv=old["clip_qkv"],
    )
    config._attn_implementation = "eager"
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
        model = OlmoForCausalLM(config).eval()
    state: dict[str, torch.Tensor] = {"model.embed_tokens.weight": tensors["model.transformer.wte.weight"]}
    state["lm_head.weight"] = tensors.get("model.transformer.ff_out.weight", state["model.embed_tokens.weight"])
    width = old["d_model"] // old["n_heads"]
    for layer in range(old["n_layers"]):
        new, ours = f"model.transformer.blocks.{layer}", f"model.layers.{layer}"
        q, k, v = tensors[f"{new}.att_proj.weight"].split([old["d_model"], heads * width, heads * width])
        up, gate = tensors[f"{new}.ff_proj.weight"].chunk(2)
        parts = {"self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "mlp.up_proj": up}
        parts |= {"mlp.gate_proj": gate, "self_attn.o_proj": tensors[f"{new}.attn_out.weight"]}
        parts |= {"mlp.down_proj": tensors[f"{new}.ff_out.weight"]}
        state |= {f"{ours}.{name}.weight": tensor for name, tensor in parts.items()}
    model.load_state_dict(state)
    return model


def make_whole_gemma3(path: Path, *, seed: int = 3) -> tuple[Path, PreTrainedModel]:
    """Write a random Gemma-3 that also sees; its text part has the shape of the tiny variant ``gemma3``."""
    text = make_model("gemma3").config.to_dict()
    vision = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(text_config=text, vision_config=vision | {"image_size": 28, "patch_size": 14})
    config._attn_implementation = "eager"
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
        model = Gemma3ForConditionalGeneration(config).eval()
    randomise(model, seed=seed)
    model.save_pretrained(path)
    make_tokenizer(bos=True).save_pretrained(path)
    return path, model
