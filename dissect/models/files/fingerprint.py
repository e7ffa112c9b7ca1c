"""A hash that tells checkpoints apart."""

import json
from collections.abc import Mapping
from typing import Any

import torch
import xxhash
from jaxtyping import Shaped
from torch import Tensor

from dissect.models.dtypes import dtype_name

_VOLATILE = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "auto_map")
"""Keys of a configuration that do not enter what the model computes."""


def digest_of(tensor: Shaped[Tensor, "..."]) -> str:
    """Dtype, shape and hash of one tensor on the CPU."""
    content = xxhash.xxh3_128(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data).hexdigest()
    return f"{dtype_name(tensor.dtype)} {tuple(tensor.shape)} {content}"


class Digest:
    """The fingerprint: a hash for each tensor, then one over all of them in the order of their names."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = {key: value for key, value in config.items() if key not in _VOLATILE}
        self.tensors: dict[str, str] = {}
        """Dtype, shape and hash of each tensor."""

    def add(self, name: str, tensor: Shaped[Tensor, "..."]) -> None:
        """Take in one tensor, on the CPU, by the name that transformers gives it."""
        self.tensors[name] = digest_of(tensor)

    def hexdigest(self) -> str:
        """The fingerprint of the tensors so far: 32 hexadecimal digits."""
        text = json.dumps([self._config, self.tensors], sort_keys=True)
        return str(xxhash.xxh3_128(text.encode()).hexdigest())
