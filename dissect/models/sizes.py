"""Sizes of a checkpoint's parameters, from its ``config.json`` alone: no weights are read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dissect.models.auto_config import configurations_alone
from dissect.models.families import find_family, transformers_config
from dissect.models.layout import layout_of


@dataclass(frozen=True)
class Sizes:
    """The sizes that memory follows from."""

    architecture: str
    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int
    n_key_value_heads: int
    d_head: int
    d_vocab: int
    n_ctx: int
    act_fn: str
    gated: bool
    parallel: bool
    """True if attention and MLP read the same residual stream."""
    rms: bool
    """True if norms are RMS norms; else they are layer norms."""
    fused: bool
    """True if attention runs as one operation that keeps no scores."""
    soft_cap: bool
    """True if the logits have a soft cap."""
    tied: bool
    parameters: Mapping[str, int]
    """Numbers of each parameter that the checkpoint has, by its name in the hooked model."""
    constants: int
    """Numbers in parameters that only the hooked model has."""
    buffers: int
    """Bytes of tables, such as the sines of rotary positions."""

    @property
    def n_parameters(self) -> int:
        """Numbers in the checkpoint; a tied embedding is counted once."""
        return sum(self.parameters.values())

    @property
    def n_layer(self) -> int:
        """Numbers in the largest layer."""
        return max(self._of(f"blocks.{layer}.") for layer in range(self.n_layers))

    @property
    def n_outside(self) -> int:
        """Numbers outside the layers: embeddings, final norm, unembedding."""
        return self.n_parameters - self._of("blocks.")

    def of_block(self, block: str) -> int:
        """Numbers of a matrix such as ``mlp.W_out`` in all layers."""
        part, _, matrix = block.partition(".")
        ends = (f"{part}.{matrix}", f"{part}._{matrix}")  # grouped heads are stored under names with an underscore
        return sum(n for name, n in self.parameters.items() if name.split(".", 2)[-1] in ends)

    def _of(self, prefix: str) -> int:
        return sum(n for name, n in self.parameters.items() if name.startswith(prefix))


def sizes_of(config: Mapping[str, Any]) -> Sizes:
    """Sizes of the checkpoint that a ``config.json`` describes.

    Raises:
        DissectError: an architecture or a feature that dissect does not load.
    """
    with configurations_alone():
        family = find_family(config)
        layout = layout_of(family, transformers_config(family, config))
    cfg = layout.settings
    return Sizes(
        architecture=family.architecture,
        n_layers=cfg["n_layers"],
        d_model=cfg["d_model"],
        d_mlp=int(cfg["d_mlp"]),
        n_heads=cfg["n_heads"],
        n_key_value_heads=cfg["n_key_value_heads"] or cfg["n_heads"],
        d_head=cfg["d_head"],
        d_vocab=cfg["d_vocab"],
        n_ctx=cfg["n_ctx"],
        act_fn=str(cfg["act_fn"]),
        gated=bool(cfg.get("gated_mlp")),
        parallel=bool(cfg.get("parallel_attn_mlp")),
        rms=str(cfg["normalization_type"]).startswith("RMS"),
        fused=layout.fused,
        soft_cap=cfg.get("output_logits_soft_cap", 0) > 0,
        tied=layout.tied,
        parameters={name: math.prod(shape) for name, shape in layout.stored.items()},
        constants=sum(map(math.prod, layout.constants.values())),
        buffers=layout.buffers,
    )
