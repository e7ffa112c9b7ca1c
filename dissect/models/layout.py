"""Names and shapes of a hooked model's parameters and tables, from its settings alone: the model is not made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from dissect.models.families import hooked_settings, weight_map
from dissect.models.families.family import Family, NativeConfig
from dissect.models.families.weights import Weight

Shape = tuple[int, ...]

ROTARY_POSITIONS = 2048
"""Positions whose sines and cosines TransformerLens computes when it makes a model, where the context has so many."""
POST_NORM = ("Olmo2ForCausalLM", "Olmo3ForCausalLM")
"""Architectures that norm what a part gives, not what it reads; their norms of queries and keys run over all heads."""


@dataclass(frozen=True)
class Layout:
    """A hooked model without numbers."""

    settings: Mapping[str, Any]
    """Fields of its configuration that the checkpoint decides."""
    weights: list[Weight]
    """Every tensor of the checkpoint."""
    tied: bool
    """True if the output head is the embedding."""
    stored: dict[str, Shape]
    """Shape of each parameter that the checkpoint has."""
    constants: dict[str, Shape]
    """Shape of each parameter that only the hooked model has."""
    buffers: int
    """Bytes of its tables."""
    architecture: str
    """Architecture that it computes as."""

    @property
    def fused(self) -> bool:
        """True if attention runs as one operation that keeps no scores, where no hook looks at them."""
        return self.architecture not in POST_NORM and self.settings.get("attn_scores_soft_cap", 0) <= 0


def layout_of(family: Family, config: NativeConfig) -> Layout:
    """Layout of the checkpoint that a transformers configuration describes.

    Raises:
        DissectError: a feature that a HookedTransformer cannot express.
    """
    settings = {"n_key_value_heads": None} | hooked_settings(family, config)
    tied = bool(config.tie_word_embeddings)
    weights = weight_map(family, config, SimpleNamespace(**settings))
    stored = [param for weight in weights for param in weight.params]
    architecture = family.computes_as or family.architecture
    shapes = _outside(settings, tied=tied)
    for layer in range(settings["n_layers"]):
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in _layer(settings, architecture).items()}
    if "pos_embed.W_unused" in stored:
        shapes["pos_embed.W_unused"] = (_unused_rows(weights), settings["d_model"])
    shared = {  # a norm that is neither stored nor one of ones is the other norm of its layer
        name.removesuffix("w")
        for name in shapes.keys() - set(stored)
        if name.endswith(".w") and constant_of(family, name) is None
    }
    constants = {
        name: shape
        for name, shape in shapes.items()
        if name not in stored and name.rpartition(".")[0] + "." not in shared
    }
    return Layout(
        settings=settings,
        weights=weights,
        tied=tied,
        stored={name: shapes[name] for name in stored},
        constants=constants,
        buffers=_table_bytes(settings),
        architecture=architecture,
    )


def constant_of(family: Family, name: str) -> float | None:
    """The value of a parameter that a checkpoint need not have: 0 for biases, 1 for OLMo's norms, else None."""
    parent, _, leaf = name.rpartition(".")
    if leaf in ("b", "b_Q", "b_K", "b_V", "_b_K", "_b_V", "b_O", "b_in", "b_out", "b_U"):
        return 0.0
    is_norm = parent.rpartition(".")[2].startswith("ln")
    return 1.0 if family.unit_norms and is_norm and leaf == "w" else None


def _outside(s: Mapping[str, Any], *, tied: bool) -> dict[str, Shape]:
    width, rows = s["d_model"], s["d_vocab"]
    shapes: dict[str, Shape] = {"embed.W_E": (rows, width)}
    if s["positional_embedding_type"] == "standard":
        shapes["pos_embed.W_pos"] = (s["n_ctx"], width)
    shapes |= _norm("ln_final", width, s)
    if not tied:
        shapes["unembed.W_U"] = (width, rows)
    return shapes | {"unembed.b_U": (rows,)}


def _layer(s: Mapping[str, Any], architecture: str) -> dict[str, Shape]:
    width, heads, d_head, d_mlp = s["d_model"], s["n_heads"], s["d_head"], s["d_mlp"]
    shared, groups = ("", heads) if s["n_key_value_heads"] is None else ("_", s["n_key_value_heads"])
    shapes: dict[str, Shape] = {}
    for norm in ("ln1", "ln1_post", "ln2", "ln2_post"):
        if not norm.endswith("_post") or s.get("use_normalization_before_and_after"):
            shapes |= _norm(norm, width, s)
    shapes |= {"attn.W_Q": (heads, width, d_head), "attn.W_O": (heads, d_head, width)}
    shapes |= {"attn.b_Q": (heads, d_head), "attn.b_O": (width,)}
    for letter in "KV":
        shapes[f"attn.{shared}W_{letter}"] = (groups, width, d_head)
        shapes[f"attn.{shared}b_{letter}"] = (groups, d_head)
    if s.get("use_qk_norm"):
        shapes |= {"attn.q_norm.w": (d_head,), "attn.k_norm.w": (d_head,)}
    elif architecture in POST_NORM:
        shapes |= {"attn.q_norm.w": (width,), "attn.k_norm.w": (groups * d_head,)}
    shapes |= {"mlp.W_in": (width, d_mlp), "mlp.W_out": (d_mlp, width)}
    if s.get("gated_mlp"):
        shapes["mlp.W_gate"] = (width, d_mlp)
    return shapes | {"mlp.b_in": (d_mlp,), "mlp.b_out": (width,)}


def _norm(name: str, width: int, s: Mapping[str, Any]) -> dict[str, Shape]:
    bias = {f"{name}.b": (width,)} if s["normalization_type"] == "LN" else {}
    return {f"{name}.w": (width,), **bias}


def _unused_rows(weights: Iterable[Weight]) -> int:
    table = next(weight for weight in weights if "pos_embed.W_unused" in weight.params)
    return table.sizes[table.params.index("pos_embed.W_unused")]


def _table_bytes(s: Mapping[str, Any]) -> int:
    """Bytes of each layer's value for masked scores and, in float32, of its sines and cosines."""
    rotary = s["positional_embedding_type"] == "rotary"
    tables = 2 * min(s["n_ctx"], ROTARY_POSITIONS) * s["rotary_dim"] if rotary else 0
    return 4 * s["n_layers"] * (1 + tables)
