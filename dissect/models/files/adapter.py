"""PEFT LoRA adapters, merged into the tensors of their base model as those are read.

A merged tensor is W' = W + s · B A with A of shape (r, in), B of shape (out, r) and s = alpha / r (Hu et al. 2021,
arXiv:2106.09685), or alpha / sqrt(r) for rank-stabilised LoRA (Kalajdzievski 2023, arXiv:2312.03732). Weights that the
adapter saved whole (``modules_to_save``, embeddings) take the place of the base's.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dissect.errors import DissectError
from dissect.models.dtypes import DTYPES
from dissect.models.families.family import Family
from dissect.models.families.weights import Weight
from dissect.models.files.adapter_merge import AdapterChange, MergedSource
from dissect.models.files.hub import read_json
from dissect.models.files.reader import TensorSource, open_source
from dissect.models.naming import without_wrapper

# fmt: off
_HARMLESS = frozenset((
    "task_type", "modules_to_save", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path",
    "revision", "inference_mode", "r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout",
    "fan_in_fan_out", "use_rslora", "init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern",
    "alpha_pattern", "megatron_config", "megatron_core", "loftq_config", "eva_config", "qalora_group_size",
    "ensure_weight_tying", "runtime_config", "lora_ga_config", "corda_config",
))
# fmt: on
"""Settings that are handled here, or that do not enter what a merged tensor is."""
_OFF = {"bias": "none"}
"""Values, besides an empty one, that mean a feature is off."""
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Initialisations that leave the base weights as they are."""
_TENSOR = re.compile(
    r"^(?:(?:.*\.)?base_model\.model\.|(?:module\.)*)(?P<module>.+?)"
    r"(?:\.lora_(?P<embedding>embedding_)?(?P<factor>[AB])(?:\.(?!weight$)[^.]+)?(?:\.weight)?"
    r"|(?:(?P<original>\.original_module)|\.modules_to_save(?:\.(?!weight$)[^.]+)?|\.base_layer)?\.weight)$"
)
"""A factor, or a whole weight that was saved along and takes the place of the base's.

In memory, and in files that were not written by peft's own ``save_pretrained``, the adapter's name (``default``) stands
in the names, and beside a ``modules_to_save`` the base's own weight as ``original_module``."""
_EMBEDDINGS = ("embed.W_E", "unembed.W_U")


def is_adapter(directory: Path) -> bool:
    """Return True if a directory holds an adapter and no weights of its own."""
    return has_adapter(directory) and not has_weights(directory)


def has_adapter(directory: Path) -> bool:
    """Return True if a directory holds an adapter, whatever else it holds."""
    return (directory / "adapter_config.json").is_file()


def has_weights(directory: Path) -> bool:
    """Return True if a directory holds whole weights."""
    return any(
        (directory / f"{name}{end}").is_file()
        for name in ("model.safetensors", "pytorch_model.bin")
        for end in ("", ".index.json")
    )


def recorded_base(directory: Path) -> tuple[str, str | None]:
    """Path or hub id of the base model that an adapter records, and its revision.

    Raises:
        DissectError: it records none.
    """
    config = read_json(directory / "adapter_config.json")
    base = config.get("base_model_name_or_path")
    if not base:
        raise DissectError(f"{directory} is an adapter that records no base model: give it with base=")
    return str(base), config.get("revision")


def adapted_source(
    source: TensorSource,
    adapter: Path,
    weights: list[Weight],
    stored_names: Mapping[str, str],
    family: Family,
    *,
    tied: bool,
) -> TensorSource:
    """``source`` with the adapter merged into its tensors.

    The adapter may spell the prefix of the model as the files of another version do, or leave it out.

    Raises:
        DissectError: the adapter does more than plain LoRA, or does not fit the base model.
    """
    config = read_json(adapter / "adapter_config.json")
    _check_plain(config, adapter)
    tensors = open_source(adapter, "adapter_model", "adapter_model")
    by_module = {weight.name.removesuffix(".weight"): weight for weight in weights}
    for prefix in (*family.other_prefixes, ""):
        others = {prefix + name.removeprefix(family.prefix): weight for name, weight in by_module.items()}
        by_module = others | by_module
    by_module["lm_head"] = next((weight for weight in weights if weight.params == ("unembed.W_U",)), weights[0])
    changes: dict[str, dict[str, str]] = {}
    transposed = set()
    for name in tensors.names():
        match = _TENSOR.match(without_wrapper(name))
        if match is None:
            raise DissectError(f"{adapter}: {name} is not a LoRA factor: only plain LoRA adapters can be merged")
        if tensors.dtype(name) not in DTYPES:
            raise DissectError(f"{adapter}: {name} is stored as {tensors.dtype(name)}: float factors are needed")
        kind = match["factor"] or ("original" if match["original"] else "whole")
        if (other := changes.setdefault(match["module"], {}).setdefault(kind, name)) != name:
            raise DissectError(f"{adapter} holds {other} and {name}: two adapters, or one of them twice")
        if match["embedding"]:
            transposed.add(match["module"])
    merged = {}
    for module, names in changes.items():
        weight = by_module.get(module)
        if weight is None:
            raise DissectError(f"{adapter} changes {module}, which the base model does not have: wrong base model?")
        stored = stored_names[weight.name]
        if (original := names.pop("original", None)) and not _equal(tensors.read(original), source.read(stored)):
            raise DissectError(f"{adapter}: {original} is not the weight of the base: wrong base model?")
        if len(names.keys() & {"A", "B"}) == 1:
            raise DissectError(f"{adapter} has only one of the two factors of {module}: the file is damaged")
        if names.keys() == {"whole"} and _equal(tensors.read(names["whole"]), source.read(stored)):
            continue  # a copy that was saved along, unchanged
        if tied and (weight.params[0] in _EMBEDDINGS or module == "lm_head"):
            merged[stored] = _tied_change(tensors, changes, by_module, adapter)
            continue
        if names:
            scale = _scale(config, module, tensors.shape(names["A"])[0]) if "A" in names else 0.0
            change = AdapterChange(tensors, names, scale, weight.fan_in_first or module in transposed)
            _check_shapes(change, source.shape(stored), module, adapter, resized=weight.params[0] in _EMBEDDINGS)
            merged[stored] = change
    if not merged or all(change.is_nothing() for change in merged.values()):
        why = "every product of its factors is zero" if merged else "it holds nothing but weights of the base"
        raise DissectError(f"{adapter} is an adapter that changes nothing ({why}): was it saved before training?")
    return MergedSource(source, merged)


def resized_vocabulary(adapter: Path, rows: int) -> int:
    """Rows of the embedding after an adapter that stores it whole; ``rows`` where it does not."""
    tensors = open_source(adapter, "adapter_model", "adapter_model")
    sizes = set()
    for name in tensors.names():
        match = _TENSOR.match(without_wrapper(name))
        if match is None or match["factor"] or match["original"]:
            continue
        if match["module"].rpartition(".")[2] in ("embed_tokens", "wte", "embed_in", "lm_head", "embed_out"):
            sizes.add(tensors.shape(name)[0])
    if len(sizes) > 1:
        raise DissectError(f"{adapter} stores embeddings of {' and '.join(map(str, sorted(sizes)))} rows")
    return sizes.pop() if sizes else rows


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first.to(second.dtype), second)


def _tied_change(
    tensors: TensorSource, changes: Mapping[str, Mapping[str, str]], by_module: Mapping[str, Weight], adapter: Path
) -> AdapterChange:
    """Decide about a tied embedding: it is replaced where input and output were saved whole and alike.

    Raises:
        DissectError: only one of the two was changed, they differ, or they have factors.
    """
    ends = [
        names
        for module, names in changes.items()
        if module == "lm_head" or ((weight := by_module.get(module)) and weight.params[0] in _EMBEDDINGS)
    ]
    whole = [names["whole"] for names in ends if names.keys() == {"whole"}]
    if len(whole) != 2 or len(ends) != 2 or not torch.equal(*(tensors.read(name) for name in whole)):
        module = next(name for name, names in changes.items() if names in ends)
        raise DissectError(
            f"{adapter} changes {module}, but embedding and output head are tied: merge it with peft first"
        )
    return AdapterChange(tensors, {"whole": whole[0]}, 0.0, False)


def _check_shapes(change: AdapterChange, base: tuple[int, ...], module: str, adapter: Path, *, resized: bool) -> None:
    for shape in change.shapes():
        if shape != base and not (resized and len(shape) == 2 and shape[1:] == base[1:] and "A" not in change.names):
            raise DissectError(
                f"{adapter} changes {module} by {list(shape)}, the base has {list(base)}: wrong base model?"
            )


def _check_plain(config: Mapping[str, Any], adapter: Path) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise DissectError(f"{adapter} is an adapter of type {kind!r}: only LORA adapters can be merged")
    init = config.get("init_lora_weights")
    if init not in _PLAIN_INITS:
        raise DissectError(
            f"{adapter} was initialised with {init!r}, which also changes the base weights: merge it with peft first"
        )
    for key, value in config.items():
        if key not in _HARMLESS and value and value != _OFF.get(key):
            raise DissectError(
                f"{adapter} uses {key} = {value!r}, which goes beyond plain LoRA: merge it with peft first"
            )


def _scale(config: Mapping[str, Any], module: str, found_rank: int) -> float:
    """s for one module; the patterns are regular expressions for the end of the module's name, as in peft."""

    def setting(pattern_key: str, key: str) -> float:
        for pattern, value in (config.get(pattern_key) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return float(value)
        return float(config.get(key, 8))

    rank, alpha = setting("rank_pattern", "r"), setting("alpha_pattern", "lora_alpha")
    if rank != found_rank:
        raise DissectError(f"{module} has LoRA factors of rank {found_rank}, adapter_config.json says {rank:g}")
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
