"""The published procedure written plainly: transformers, forward hooks, a full forward pass for each cell.

Nothing here imports dissect: it is what dissect's numbers are compared with.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Sites = dict[str, tuple[str, str]]

# architecture -> component -> (module path with {l}, whether its input or its output is the activation).
# The attention state is the tensor added to the residual stream: after the extra norm of OLMo-2 and Gemma-2.
_LLAMA: Sites = {
    "mlp_post": ("model.layers.{l}.mlp.down_proj", "input"),
    "attn_out": ("model.layers.{l}.self_attn.o_proj", "output"),
}
_POST_NORM: Sites = {**_LLAMA, "attn_out": ("model.layers.{l}.post_attention_layernorm", "output")}
SITES: dict[str, Sites] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "olmo", "phi3", "smollm3", "stablelm", "gemma"), _LLAMA),
    **dict.fromkeys(("olmo2", "olmo3", "gemma2", "gemma3"), _POST_NORM),
    "gptj": {
        "mlp_post": ("transformer.h.{l}.mlp.fc_out", "input"),
        "attn_out": ("transformer.h.{l}.attn.out_proj", "output"),
    },
    "opt": {
        "mlp_post": ("model.decoder.layers.{l}.fc2", "input"),
        "attn_out": ("model.decoder.layers.{l}.self_attn.out_proj", "output"),
    },
    "phi": {
        "mlp_post": ("model.layers.{l}.mlp.fc2", "input"),
        "attn_out": ("model.layers.{l}.self_attn.dense", "output"),
    },
    "gpt2": {
        "mlp_post": ("transformer.h.{l}.mlp.c_proj", "input"),
        "attn_out": ("transformer.h.{l}.attn.c_proj", "output"),
    },
    "gpt_neo": {
        "mlp_post": ("transformer.h.{l}.mlp.c_proj", "input"),
        "attn_out": ("transformer.h.{l}.attn.attention.out_proj", "output"),
    },
    "neox": {
        "mlp_post": ("gpt_neox.layers.{l}.mlp.dense_4h_to_h", "input"),
        "attn_out": ("gpt_neox.layers.{l}.attention.dense", "output"),
    },
}
SITES["whole_gemma3"] = {
    name: (path.replace("model.layers", "model.language_model.layers"), end)
    for name, (path, end) in SITES["gemma3"].items()
}
_KIN = {"phi4_mini": "phi3", "old_olmo": "olmo"}
"""Variants whose names do not begin with that of their architecture."""


def sites_of(variant: str) -> Sites:
    """The sites of a tiny variant: those of its architecture, whose name it begins with."""
    kin = _KIN.get(variant, variant)
    return SITES[max((name for name in SITES if kin.startswith(name)), key=len)]


class Rows:
    """Texts as id lists, padded on either side, with the positions whose logits are scored in each row."""

    def __init__(self, ids: Sequence[list[int]], scored: Sequence[list[int]], *, side: str = "right") -> None:
        width = max(map(len, ids))
        self.tokens = torch.zeros(len(ids), width, dtype=torch.long)
        self.mask = torch.zeros_like(self.tokens)
        self.scored: list[list[int]] = []
        for row, (text, where) in enumerate(zip(ids, scored, strict=True)):
            offset = width - len(text) if side == "left" else 0
            self.tokens[row, offset : offset + len(text)] = torch.tensor(text)
            self.mask[row, offset : offset + len(text)] = 1
            self.scored.append([offset + position for position in where])


def logits(model: nn.Module, rows: Rows) -> list[Tensor]:
    out = model(input_ids=rows.tokens, attention_mask=rows.mask, use_cache=False).logits
    return [out[row, where].double() for row, where in enumerate(rows.scored)]


@torch.no_grad()
def krs(
    base: nn.Module, unlearned: nn.Module, rows: Rows, *, architecture: str, components: Sequence[str], window: int
) -> Tensor:
    """KRS [layer, prompt] of patching ``components`` of base into unlearned; ``values`` swaps the weights instead."""
    n_layers = base.config.get_text_config().num_hidden_layers
    targets = logits(base, rows)
    before = [(a - b).pow(2).mean() for a, b in zip(targets, logits(unlearned, rows), strict=True)]
    result = []
    for centre in range(n_layers):
        layers = [layer for layer in range(centre - window // 2, centre + window // 2 + 1) if 0 <= layer < n_layers]
        if list(components) == ["values"]:
            patched = _with_values(base, unlearned, rows, architecture, layers)
        else:
            patched = _with_activations(base, unlearned, rows, architecture, components, layers)
        after = [(a - b).pow(2).mean() for a, b in zip(targets, patched, strict=True)]
        result.append(torch.stack([1 - new / old for new, old in zip(after, before, strict=True)]))
    return torch.stack(result)


def _with_values(
    base: nn.Module, unlearned: nn.Module, rows: Rows, architecture: str, layers: list[int]
) -> list[Tensor]:
    modules = [sites_of(architecture)["mlp_post"][0].format(l=layer) for layer in layers]
    kept = [unlearned.get_submodule(module).weight.clone() for module in modules]
    for module in modules:
        unlearned.get_submodule(module).weight.copy_(base.get_submodule(module).weight)
    try:
        return logits(unlearned, rows)
    finally:
        for module, weight in zip(modules, kept, strict=True):
            unlearned.get_submodule(module).weight.copy_(weight)


def _with_activations(
    base: nn.Module,
    unlearned: nn.Module,
    rows: Rows,
    architecture: str,
    components: Sequence[str],
    layers: list[int],
) -> list[Tensor]:
    places = [sites_of(architecture)[component] for component in components]
    kept: dict[str, Tensor] = {}
    handles = [
        _hook(base.get_submodule(path.format(l=layer)), side, _keeper(kept, path.format(l=layer)))
        for path, side in places
        for layer in layers
    ]
    logits(base, rows)
    _remove(handles)
    handles = [
        _hook(unlearned.get_submodule(path.format(l=layer)), side, _replacer(kept[path.format(l=layer)]))
        for path, side in places
        for layer in layers
    ]
    try:
        return logits(unlearned, rows)
    finally:
        _remove(handles)


def _keeper(kept: dict[str, Tensor], key: str) -> Callable[[Tensor], None]:
    return lambda tensor: kept.update({key: tensor.clone()})


def _replacer(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda tensor: value


def _hook(module: nn.Module, side: str, function: Callable[[Tensor], Tensor | None]) -> object:
    if side == "input":

        def before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            replaced = function(args[0])
            return None if replaced is None else (replaced, *args[1:])

        return module.register_forward_pre_hook(before)
    return module.register_forward_hook(lambda module, args, output: function(output))


def _remove(handles: list) -> None:
    for handle in handles:
        handle.remove()


@torch.no_grad()
def krs_after(base: nn.Module, unlearned: nn.Module, rows: Rows, change: Callable[[nn.Module], None]) -> Tensor:
    """KRS of each prompt after ``change`` was made to a copy of the unlearned model."""
    changed = copy.deepcopy(unlearned)
    change(changed)
    targets, own, now = (logits(model, rows) for model in (base, unlearned, changed))
    before = [(a - b).pow(2).mean() for a, b in zip(targets, own, strict=True)]
    after = [(a - b).pow(2).mean() for a, b in zip(targets, now, strict=True)]
    return torch.stack([1 - new / old for new, old in zip(after, before, strict=True)])
