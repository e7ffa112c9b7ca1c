"""No key of a configuration is passed over: what transformers reads is honoured, harmless, or has one value."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
from pathlib import Path

import pytest
import transformers
from transformers import AutoConfig

from dissect.errors import DissectError
from dissect.models.families import FAMILIES
from dissect.models.families.keys import HARMLESS
from dissect.models.files.load import load
from tests.support.tiny import make_checkpoint

OWN = [family for family in FAMILIES if not family.native_type]
_SPECIAL = {"get_text_config", "per_layer_config", "to_dict", "vision_config", "text_config"}
# the vision part of Gemma-3, and what transformers itself derives
_VISION = {"image_token_id", "mm_tokens_per_image", "boi_token_id", "eoi_token_id", "image_size", "patch_size"}


def keys_read(module) -> set[str]:
    """Every ``config.key``, ``self.config.key`` and ``getattr(config, "key")`` in the source of a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Attribute) and is_config(node.value):
            found.add(node.attr)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr" and is_config(node.args[0]):
            found.add(ast.literal_eval(node.args[1]))
    return found - _SPECIAL - _VISION


def is_config(node: ast.AST) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("config", "text_config")


@pytest.mark.parametrize("family", OWN, ids=lambda family: family.model_type)
def test_it_is_said_what_becomes_of_every_key_that_transformers_reads(family):
    model_class = getattr(transformers, family.architecture)
    unknown = {key for key in keys_read(inspect.getmodule(model_class)) if not family.keys.known(key)}
    assert not unknown
    config = AutoConfig.for_model(family.model_type)
    fields = {field.name for field in dataclasses.fields(config)} - _SPECIAL
    unknown = {key for key in fields if not family.keys.known(key) and not key.startswith("_")}
    assert not unknown, "its configuration declares them"


def test_what_every_model_reads_is_known():
    """The masks are made by code that all models share."""
    masks = keys_read(importlib.import_module("transformers.masking_utils"))
    shared = {"is_causal", "sliding_window", "attention_chunk_size", "layer_types", "_attn_implementation"}
    assert masks <= shared, "a mask depends on another key"
    for family in OWN:
        assert family.keys.known("is_causal")
    assert not HARMLESS & {"is_causal", "sliding_window", "layer_types"}


CHANGES = [
    ("llama", {"is_causal": False}, "is_causal = False"),
    ("gpt2", {"is_causal": False}, "is_causal = False"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
    ("llama", {"mlp_bias": True}, "mlp_bias = True"),
    ("smollm3", {"mlp_bias": True}, "mlp_bias = True"),
    ("phi", {"qk_layernorm": True}, "qk_layernorm = True"),
    ("stablelm", {"qk_layernorm": True}, "qk_layernorm = True"),
    ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
    ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
    ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before = False"),
    ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm = True"),
    ("opt", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine = False"),
    ("opt", {"word_embed_proj_dim": 16}, "word_embed_proj_dim = 16"),
    ("gptj", {"rotary_dim": 0}, "rotary_dim = 0"),
    ("olmo2", {"head_dim": 12}, "4 of width 12"),
]


@pytest.mark.parametrize(("architecture", "changes", "named"), CHANGES)
def test_values_that_cannot_be_expressed_are_refused_by_name(architecture, changes, named, tmp_path):
    path = make_checkpoint(architecture, tmp_path / "model", tokenizer=False)
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(DissectError, match=re.escape(named)) as caught:
        load(path, progress=False)
    assert "supported:" in str(caught.value)
    assert "\n" not in str(caught.value)
