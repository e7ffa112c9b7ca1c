"""Low-rank factors of hooked parameters as a PEFT LoRA adapter.

A parameter of a hooked model is a part of a stored matrix: where several share one (the fused queries, keys and values
of GPT-2, GPT-NeoX and Phi-3), their factors are put side by side, A over A, and each B in the rows of its own part.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.apart import check_apart
from dissect.files import atomic_directory
from dissect.models.axes import from_matrix
from dissect.models.checkpoint import checkpoint_of, weights_of
from dissect.models.families.weights import Weight
from dissect.models.files.save import save_tokenizer
from dissect.models.files.write_tensors import write_tensors

Factors = tuple[Float[Tensor, "r n_in"], Float[Tensor, "n_out r"]]
"""A and B of one parameter: its change, as a matrix (out, in), is alpha / r · B A."""


def save_adapter(
    model: HookedTransformer,
    factors: Mapping[str, Factors],
    alpha: float,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    extra: Mapping[str, str] | None = None,
) -> Path:
    """Write an adapter directory that peft and ``dissect.load`` read; the base model is the one that was loaded.

    Args:
        factors: by parameter name, all of one rank.
        extra: further text files, by name.

    Raises:
        DissectError: ``out`` is in use.
    """
    info = checkpoint_of(model)
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    transposed = False
    rank = next(iter(factors.values()))[0].shape[0]
    for weight in weights_of(model):
        parts = [name for name in weight.params if name in factors]
        if not parts:
            continue
        module = weight.name.removesuffix(".weight")
        a = torch.cat([factors[name][0] for name in parts])
        b = torch.cat([_in_stored_rows(model, weight, name, factors[name][1]) for name in parts], dim=1)
        tensors[f"base_model.model.{module}.lora_A.weight"] = a.detach().float().cpu().contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = b.detach().float().cpu().contiguous()
        ranks[module], transposed = len(parts) * rank, transposed or weight.fan_in_first
    others = {module: r for module, r in ranks.items() if r != rank}
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": info.source,
        "revision": info.revision,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "target_modules": list(ranks),
        # alpha / r stays what it was where several parts share a matrix
        "rank_pattern": others,
        "alpha_pattern": {module: alpha * r / rank for module, r in others.items()},
        "inference_mode": True,
    }
    check_apart({"out": out}, {"model": info.directories})
    with atomic_directory(out, overwrite=overwrite) as directory:
        (directory / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        name = "adapter_model.safetensors"
        write_tensors(tensors, directory / name, {"format": "pt"}, final=Path(out) / name)
        save_tokenizer(model, info, directory)
        for name, text in (extra or {}).items():
            (directory / name).write_text(text, encoding="utf-8")
    return Path(out)


def _in_stored_rows(
    model: HookedTransformer, weight: Weight, name: str, b: Float[Tensor, "n_out r"]
) -> Float[Tensor, "n_stored r"]:
    """B in the rows of the stored matrix that belong to the parameter, zeros in those of the others."""
    if len(weight.params) == 1:
        return b
    # A parameter whose input is r wide instead of d_model: the map to the stored tensor does not care.
    narrow = []
    for other in weight.params:
        like = model.get_parameter(other)
        axis = like.ndim - 2
        shape = [*like.shape[:axis], b.shape[1], *like.shape[axis + 1 :]]
        part = b.new_zeros(shape)
        narrow.append(from_matrix(other, b.detach().T, part) if other == name else part)
    stored = weight.join(narrow)
    return stored.T if weight.fan_in_first else stored
