"""Tiny random Hugging Face checkpoints of every architecture: real files, written by transformers itself.

Every parameter is randomised, because transformers starts biases at zero and norms at one, behind which a swapped or a
forgotten tensor would hide. Shapes are chosen so that no two widths agree by accident.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 320  # a little more than the tokenizer knows, as published checkpoints have it
CONTEXT = 64
WINDOW = 6

SENTENCES = [
    "Once upon a time, there was a little girl named Lily.",
    "The capital of France is Paris. Where was Ada Lovelace born? In London.",
    "Question: What is the profession of Basil? Answer: a baker.",
    "He likes to swim, to read and to paint old houses by the sea.",
]

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
_GROUPED: dict[str, Any] = {**_COMMON, "num_key_value_heads": 2}
_ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 5000.0}
_LLAMA3_ROPE: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_GPT_NEO: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_layers": 3,
    "num_heads": 4,
    "max_position_embeddings": CONTEXT,
    "attention_types": [[["global", "local"], 1], [["local"], 1]],
    "window_size": WINDOW,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_LONG_ROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 5000.0,
    "short_factor": [1.0, 1.2, 1.5, 2.0],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
_ORIGINAL = {"original_max_position_embeddings": CONTEXT}  # Phi-3 has it here, and here alone
_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
_GEMMA: dict[str, Any] = {**_GROUPED, "head_dim": 12, "rope_parameters": _ROPE}
_GEMMA3: dict[str, Any] = {
    **_GROUPED,
    "head_dim": 12,
    "query_pre_attn_scalar": 10,
    "sliding_window": WINDOW,
    "layer_types": _LAYERS,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 9000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
    },
}
_OLMO3: dict[str, Any] = {**_GROUPED, "sliding_window": WINDOW, "layer_types": _LAYERS}
_PHI: dict[str, Any] = {**_COMMON, "rope_parameters": {**_ROPE, "partial_rotary_factor": 0.5}}
_GPTJ: dict[str, Any] = {**_GPT2, "rotary_dim": 4, "n_inner": 40, "tie_word_embeddings": False}
_OPT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "ffn_dim": 40,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
_STABLELM: dict[str, Any] = {
    **_GROUPED,
    "use_qkv_bias": True,
    "rope_parameters": {**_ROPE, "partial_rotary_factor": 0.5},
}
_NEOX: dict[str, Any] = {**_COMMON, "rope_parameters": {**_ROPE, "partial_rotary_factor": 0.5}}

# key -> (transformers' model class, its configuration, does the tokenizer put a BOS in front)
_VARIANTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "llama": ("LlamaForCausalLM", {**_GROUPED, "rope_parameters": _ROPE}, True),
    "llama_ungrouped": ("LlamaForCausalLM", {**_COMMON, "head_dim": 12, "rms_norm_eps": 1e-3}, True),
    "llama_tied": ("LlamaForCausalLM", {**_GROUPED, "tie_word_embeddings": True}, True),
    "llama_bias": ("LlamaForCausalLM", {**_GROUPED, "attention_bias": True}, True),
    "llama3_rope": (
        "LlamaForCausalLM",
        {**_GROUPED, "hidden_size": 64, "rope_parameters": _LLAMA3_ROPE, "tie_word_embeddings": True},
        True,
    ),
    "llama_linear_rope": (
        "LlamaForCausalLM",
        {**_GROUPED, "rope_parameters": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}},
        True,
    ),
    "mistral": ("MistralForCausalLM", {**_GROUPED, "sliding_window": WINDOW, "head_dim": 12}, True),
    "mistral_full": ("MistralForCausalLM", {**_COMMON, "num_key_value_heads": 4, "sliding_window": None}, True),
    "qwen2": ("Qwen2ForCausalLM", _GROUPED, False),
    "qwen2_tied": ("Qwen2ForCausalLM", {**_GROUPED, "tie_word_embeddings": True}, False),
    "qwen2_window": (
        "Qwen2ForCausalLM",
        {**_GROUPED, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        False,
    ),
    "qwen3": ("Qwen3ForCausalLM", {**_GROUPED, "head_dim": 12}, False),
    "qwen3_tied": ("Qwen3ForCausalLM", {**_COMMON, "num_key_value_heads": 4, "tie_word_embeddings": True}, False),
    "olmo": ("OlmoForCausalLM", {**_COMMON, "clip_qkv": 0.5}, False),
    "olmo_grouped": ("OlmoForCausalLM", {**_GROUPED, "tie_word_embeddings": True}, False),
    "olmo2": ("Olmo2ForCausalLM", {**_COMMON, "rope_parameters": _ROPE}, False),
    "gpt2": ("GPT2LMHeadModel", _GPT2, False),
    "gpt2_scaled": (
        "GPT2LMHeadModel",
        {**_GPT2, "n_inner": 40, "scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu"},
        False,
    ),
    "gpt2_untied": ("GPT2LMHeadModel", {**_GPT2, "n_inner": 40, "tie_word_embeddings": False}, False),
    "gpt_neo": ("GPTNeoForCausalLM", _GPT_NEO, False),
    "neox": ("GPTNeoXForCausalLM", _NEOX, False),
    "neox_sequential": (
        "GPTNeoXForCausalLM",
        {**_NEOX, "use_parallel_residual": False, "tie_word_embeddings": True},
        False,
    ),
    "neox_no_bias": ("GPTNeoXForCausalLM", {**_NEOX, "attention_bias": False}, False),
    "phi3": ("Phi3ForCausalLM", {**_GROUPED, "sliding_window": WINDOW}, True),
    "phi3_partial": (
        "Phi3ForCausalLM",
        {**_COMMON, "num_key_value_heads": 4, "rope_parameters": {**_ROPE, "partial_rotary_factor": 0.5}},
        True,
    ),
    "gemma2": (
        "Gemma2ForCausalLM",
        {
            **_GROUPED,
            "head_dim": 12,
            "query_pre_attn_scalar": 10,
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": True,
        },
        True,
    ),
    "gemma2_untied": (
        "Gemma2ForCausalLM",
        {**_COMMON, "num_key_value_heads": 4, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": WINDOW},
        True,
    ),
    "olmo2_grouped": ("Olmo2ForCausalLM", {**_GROUPED, "tie_word_embeddings": True}, False),
    "olmo3": ("Olmo3ForCausalLM", _OLMO3, False),
    "olmo3_yarn": (
        "Olmo3ForCausalLM",
        {
            **_OLMO3,
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 5000.0,
                    "factor": 4.0,
                    "original_max_position_embeddings": 16,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
            },
        },
        False,
    ),
    "phi": ("PhiForCausalLM", _PHI, False),
    "phi_grouped": ("PhiForCausalLM", {**_PHI, "num_key_value_heads": 2}, False),
    "phi3_long": (
        "Phi3ForCausalLM",
        {**_GROUPED, "max_position_embeddings": 4 * CONTEXT, **_ORIGINAL, "rope_parameters": _LONG_ROPE},
        True,
    ),
    "phi4_mini": (
        "Phi3ForCausalLM",
        {
            **_GROUPED,
            "hidden_size": 64,
            "max_position_embeddings": 4 * CONTEXT,
            **_ORIGINAL,
            "rope_parameters": {**_LONG_ROPE, "partial_rotary_factor": 0.5},
            "tie_word_embeddings": True,
        },
        True,
    ),
    "gemma": ("GemmaForCausalLM", {**_GEMMA, "tie_word_embeddings": True}, True),
    "gemma_untied": ("GemmaForCausalLM", {**_GEMMA, "attention_bias": True}, True),
    "gemma3": ("Gemma3ForCausalLM", {**_GEMMA3, "tie_word_embeddings": True}, True),
    "gemma3_capped": ("Gemma3ForCausalLM", {**_GEMMA3, "final_logit_softcapping": 3.0}, True),
    "gptj": ("GPTJForCausalLM", _GPTJ, False),
    "opt": ("OPTForCausalLM", _OPT, True),
    "opt_no_bias": ("OPTForCausalLM", {**_OPT, "enable_bias": False, "tie_word_embeddings": False}, True),
    "stablelm": ("StableLmForCausalLM", _STABLELM, False),
    "stablelm_parallel": (
        "StableLmForCausalLM",
        {**_STABLELM, "use_parallel_residual": True, "use_qkv_bias": False},
        False,
    ),
    "smollm3": ("SmolLM3ForCausalLM", {**_GROUPED, "no_rope_layers": [1, 0, 1]}, False),
    "smollm3_window": (
        "SmolLM3ForCausalLM",
        {**_GROUPED, "no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": WINDOW},
        False,
    ),
}

ARCHITECTURES: list[str] = list(_VARIANTS)
"""Every variant that ``make_checkpoint`` can write, at least one for each architecture that dissect loads."""

FAMILIES: list[str] = [
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "olmo",
    "olmo2",
    "gpt2",
    "gpt_neo",
    "neox",
    "phi3",
    "gemma2",
    "smollm3",
    "olmo3",
    "stablelm",
    "gptj",
    "opt",
    "phi",
    "gemma",
    "gemma3",
]
"""One variant for each architecture: for tests where the variants of one architecture make no difference."""


def make_model(architecture: str, *, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A random transformers model of the variant ``architecture``, float32, in evaluation mode.

    Args:
        architecture: a member of ``ARCHITECTURES``.
        seed: every parameter is drawn from it.
        overrides: keys of the model's configuration, for example ``num_hidden_layers=6``.
    """
    name, settings, _ = _VARIANTS[architecture]
    model_class = getattr(transformers, name)
    config = model_class.config_class(**{**settings, **overrides})
    config._attn_implementation = "eager"  # the soft caps of Gemma-2 exist nowhere else
    with torch.random.fork_rng(devices=[]):  # what the model begins with is drawn, and replaced
        model = model_class(config).eval()
    randomise(model, seed=seed)
    return model


def randomise(model: torch.nn.Module, *, seed: int, scale: float = 1.0) -> None:
    """Draw every parameter of ``model`` anew, in place: around 0, norm weights around where they start.

    The deviation is 0.2 times ``scale``.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator) * 0.2 * scale
            start = parameter.clone() if parameter.ndim == 1 else torch.zeros_like(parameter)
            if name.endswith("bias"):
                start = torch.zeros_like(parameter)
            parameter.copy_(start + noise)


def make_checkpoint(
    architecture: str,
    directory: str | os.PathLike[str],
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    tokenizer: bool = True,
    max_shard_size: str = "1GB",
    change: Callable[[PreTrainedModel], None] | None = None,
    **overrides: Any,
) -> Path:
    """Write a tiny random checkpoint of the variant ``architecture`` into ``directory``, as transformers writes it.

    Args:
        architecture: a member of ``ARCHITECTURES``.
        directory: made if needed; its name may say anything, nothing reads it.
        seed: the same seed gives the same weights; another one a model of the same shape with other weights.
        dtype: of the tensors in the files.
        tokenizer: whether to write tokenizer files too.
        max_shard_size: of the safetensors files, for example ``"20KB"`` for many of them.
        change: called with the model before it is written, for example to move a few weights.
        overrides: keys of the model's configuration.
    """
    model = make_model(architecture, seed=seed, **overrides)
    if change is not None:
        with torch.no_grad():
            change(model)
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    model.to(dtype).save_pretrained(path, max_shard_size=max_shard_size)
    if tokenizer:
        make_tokenizer(bos=_VARIANTS[architecture][2]).save_pretrained(path)
    return path


def make_tokenizer(*, bos: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few sentences; with ``bos`` it puts ``<s>`` in front by itself."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json(bos)), bos_token="<s>", eos_token="</s>"
    )


@functools.cache
def _tokenizer_json(bos: bool) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 8,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer.to_str()


def tensors_of(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file in memory of their own, so that the file can be written again."""
    return {name: tensor.clone() for name, tensor in load_file(file).items()}
