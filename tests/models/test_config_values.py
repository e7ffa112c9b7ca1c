"""Whatever a configuration says, the numbers are transformers' own or it is refused: values are tried one by one."""

import json
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from dissect.errors import DissectError
from dissect.models.files.load import load
from tests.support.tiny import CONTEXT, FAMILIES, make_checkpoint

_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_FACTORS = {"short_factor": [1.0, 1.2, 1.5, 2.0], "long_factor": [2.0, 3.0, 4.0, 5.0]}
SCALINGS: list[dict[str, Any]] = [
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 3.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {**_LLAMA3, "original_max_position_embeddings": 16},
    {"rope_type": "longrope", **_FACTORS, "original_max_position_embeddings": CONTEXT},
    {"rope_type": "longrope", **_FACTORS, "original_max_position_embeddings": 16},
    {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0], "original_max_position_embeddings": 16},
    {"rope_type": "proportional", "factor": 2.0},
    {"rope_type": "nonsense"},
    {"type": "linear", "factor": 2.0},
    {"type": "dynamic", "factor": 2.0},
    {"rope_type": "default", "partial_rotary_factor": 0.5},
    {**_LLAMA3, "original_max_position_embeddings": 16, "partial_rotary_factor": 0.5},
]
_FULL, _WINDOWED = "full_attention", "sliding_attention"
VALUES: list[dict[str, Any]] = [
    *({"rope_parameters": {"rope_theta": 500.0, **each}} for each in SCALINGS),
    *({"rope_parameters": {kind: {"rope_theta": 500.0, **each} for kind in (_FULL, _WINDOWED)}} for each in SCALINGS),
    *({"rope_parameters": None, "rope_theta": 500.0, "rope_scaling": each} for each in SCALINGS),
    *({"layer_types": kinds} for kinds in ([_FULL] * 3, [_WINDOWED] * 3, [_WINDOWED, _FULL, _FULL])),
    {"layer_types": ["chunked_attention"] * 3},
    {"layer_types": [_WINDOWED] * 3, "sliding_window": None},
    *({"sliding_window": window} for window in (4, None, CONTEXT)),
    *({"use_sliding_window": value} for value in (True, False)),
    *({key: value} for key in ("final_logit_softcapping", "attn_logit_softcapping") for value in (0.0, 2.0, None)),
    *({"hidden_act": name, "activation_function": name, "hidden_activation": name} for name in ("tanh", "relu", "x")),
    {"partial_rotary_factor": 0.5, "rope_parameters": None},
    {"attention_multiplier": 0.5, "logit_scale": 0.5, "logits_scaling": 2.0},
    {"per_layer_config": {"0": {"intermediate_size": 20}}},
    {"is_causal": False},
    *({"clip_qkv": value} for value in (0.0, -1.0, 0.3)),
    *({"logit_scale": 0.5, key: value} for key in ("qk_layernorm", "attention_bias") for value in (True, False)),
    {"use_bidirectional_attention": True},
]


@pytest.mark.parametrize("architecture", [*FAMILIES, "qwen2_window", "smollm3_window", "phi3_long"])
@torch.no_grad()
def test_the_numbers_are_transformers_own_or_it_is_refused(architecture, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model", tokenizer=False)
    file = path / "config.json"
    config = json.loads(file.read_text())
    tokens = torch.randint(2, 300, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    for values in VALUES:
        kept = {key: value for key, value in values.items() if key in config or value is not None}
        file.write_text(json.dumps(config | kept))
        try:
            model = load(path, progress=False)
        except DissectError as error:
            assert "\n" not in str(error) and len(str(error)) < 700, values
            continue
        native = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
        asked = tokens[:, : min(CONTEXT, model.cfg.n_ctx)]
        difference = (model(asked) - native(asked).logits).abs().max()
        assert difference < 1e-4, (values, float(difference))


@pytest.mark.parametrize(
    ("architecture", "values", "named"),
    [
        *(
            (name, {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0}}, "dynamic")
            for name in ("llama", "mistral", "qwen2", "qwen3", "smollm3", "olmo", "olmo2", "stablelm", "phi", "phi3")
        ),
        ("llama", {"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("gemma3", {"rope_parameters": None, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("neox", {"partial_rotary_factor": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        ("llama", {"sliding_window": 4}, "sliding_window = 4"),
        ("gpt2", {"sliding_window": 4}, "sliding_window = 4"),
        ("mistral", {"layer_types": [_FULL] * 3}, "layer_types with 'full_attention'"),
        ("opt", {"layer_types": [_WINDOWED] * 3}, "layer_types with 'sliding_attention'"),
        ("smollm3", {"layer_types": [_WINDOWED] * 3}, "no sliding_window"),
        ("gemma3", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}, "'rope_type' for all"),
        ("qwen2", {"rope_parameters": {_FULL: {"rope_theta": 500.0}}}, "by layer type"),
        ("gemma2", {"final_logit_softcapping": 0.0}, "final_logit_softcapping = 0.0"),
        ("gemma3", {"final_logit_softcapping": -1.0}, "final_logit_softcapping = -1.0"),
    ],
)
def test_what_is_refused_is_named(architecture, values, named, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model", tokenizer=False)
    file = path / "config.json"
    changed = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))
    with pytest.raises(DissectError) as caught:
        load(path, progress=False)
    assert named in str(caught.value) and "\n" not in str(caught.value)


_SIZES = ("num_hidden_layers", "max_position_embeddings", "intermediate_size", "num_attention_heads", "hidden_size")


@pytest.mark.parametrize(
    "values",
    [
        *({key: value} for key in (*_SIZES, "vocab_size", "head_dim") for value in (0, -1, "3", 2.5)),
        *({"rope_parameters": {"rope_type": "default", "rope_theta": theta}} for theta in (0, -1.0, None, "1e4")),
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": "4"}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0}},
        {"rope_parameters": [1]},
    ],
    ids=str,
)
def test_values_of_no_model_are_one_line(values, tmp_path):
    path = make_checkpoint("llama", tmp_path / "model", tokenizer=False)
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    if values == {"head_dim": 0}:  # which is how older files say none
        assert load(path, progress=False).cfg.d_head == 8
        return
    with pytest.raises(DissectError) as caught:
        load(path, progress=False)
    assert "config.json" in str(caught.value) and "\n" not in str(caught.value)
