"""The state of a run: the values of its leaves and of AdamW's moments, taken from it and given back."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dissect.models.sharding.shards import put


@dataclass(frozen=True)
class State:
    """State of a run before a step."""

    step: int
    leaves: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    """AdamW's moments and step counts by leaf."""

    @classmethod
    def of(cls, step: int, tensors: Mapping[str, Tensor]) -> "State":
        """Make a state from tensors by ``leaf/name`` and ``exp_avg/name``, as they stand in files."""
        leaves: dict[str, Tensor] = {}
        optimizer: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "leaf":
                leaves[name] = tensor
            else:
                optimizer.setdefault(name, {})[kind] = tensor
        return cls(step, leaves, optimizer)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors by ``leaf/name`` and ``exp_avg/name``: the opposite of `of`."""
        tensors = {f"leaf/{name}": leaf for name, leaf in self.leaves.items()}
        for name, values in self.optimizer.items():
            tensors |= {f"{key}/{name}": value for key, value in values.items()}
        return tensors


def state_of(step: int, leaves: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> State:
    """Take the state of a run; its tensors are those of the run, not copies."""
    moments = {
        name: {key: value for key, value in optimizer.state[leaf].items() if isinstance(value, Tensor)}
        for name, leaf in leaves.items()
        if leaf in optimizer.state
    }
    return State(step, {name: leaf.detach() for name, leaf in leaves.items()}, moments)


def restore(state: State, leaves: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Give leaves and optimiser the values of a state."""
    for name, leaf in leaves.items():
        put(leaf, state.leaves[name])
    for name, values in state.optimizer.items():
        leaf = leaves[name]
        optimizer.state[leaf] = {key: _restored(key, value, leaf) for key, value in values.items()}


def _restored(key: str, value: Tensor, leaf: Tensor) -> Tensor:
    if key == "step":
        return value.clone()
    moment = torch.empty_like(leaf, requires_grad=False)
    put(moment, value)
    return moment
