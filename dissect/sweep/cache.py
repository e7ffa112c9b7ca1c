"""Storage of a donor's activations, and its size in bytes."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.dtypes import find_dtype
from dissect.models.files.write_tensors import write_tensors
from dissect.temporary import temporary_beside


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Device and dtype in which activations wait for their use. By default they stay as they arise, batch by batch."""

    device: str | torch.device | None = None
    """Device to keep them on, for instance ``cpu``, which has more memory than the GPU."""
    dtype: str | torch.dtype | None = None
    """Dtype to keep them in: a narrower one halves the memory and rounds what is swapped in."""
    directory: str | os.PathLike[str] | None = None
    """Directory below which they are kept in temporary files."""

    def stored(self, activation: Tensor) -> Tensor:
        """An activation as it is kept."""
        dtype = None if self.dtype is None else find_dtype(self.dtype)
        return activation.to(device=self.device, dtype=dtype)


class ActivationStore:
    """The parts of a forward pass for many batches, in memory or in files."""

    def __init__(self, options: CacheOptions) -> None:
        self._memory: dict[int, dict[str, Tensor]] = {}
        self._directory: Path | None = None
        if options.directory is not None:
            self._held = temporary_beside(Path(options.directory) / "cache", directory=True)
            self._directory = self._held.__enter__()

    def put(self, batch: int, parts: dict[str, Tensor]) -> None:
        """Keep the parts of a batch."""
        if self._directory is None:
            self._memory[batch] = parts
        else:
            write_tensors({name: value.contiguous() for name, value in parts.items()}, self._file(batch))

    def get(self, batch: int) -> dict[str, Tensor]:
        """Return what was put in for a batch."""
        return self._memory[batch] if self._directory is None else load_file(self._file(batch))

    def close(self) -> None:
        """Give memory and disk space back."""
        self._memory.clear()
        if self._directory is not None:
            self._held.__exit__(None, None, None)

    def _file(self, batch: int) -> Path:
        if self._directory is None:
            raise RuntimeError("this store keeps nothing in files")
        return self._directory / f"{batch}.safetensors"


def activation_bytes(
    model: HookedTransformer,
    names: Iterable[str],
    tokens: int,
    *,
    length: int,
    dtype: str | torch.dtype | None = None,
) -> int:
    """Bytes of the activations at hooks ``names`` of ``tokens`` tokens, in texts of ``length`` tokens."""
    cfg = model.cfg
    item = torch.empty(0, dtype=cfg.dtype if dtype is None else find_dtype(dtype)).element_size()
    grouped = cfg.n_key_value_heads or cfg.n_heads
    widths = {
        "mlp.hook_post": cfg.d_mlp,
        "attn.hook_z": cfg.n_heads * cfg.d_head,
        "attn.hook_q": cfg.n_heads * cfg.d_head,
        "attn.hook_k": grouped * cfg.d_head,
        "attn.hook_v": grouped * cfg.d_head,
        "attn.hook_pattern": cfg.n_heads * length,
    }
    return sum(widths.get(name.split(".", 2)[-1], cfg.d_model) for name in names) * tokens * item


def check_cache(options: CacheOptions) -> None:
    """Refuse a dtype or device that does not exist, before anything runs."""
    try:
        options.stored(torch.empty(0))
    except (RuntimeError, AssertionError) as error:
        raise DissectError(f"the cache cannot be on {options.device!r}: {str(error).splitlines()[0]}") from None
