"""The parameters that a run trains, and their masters."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.axes import HEADED, NEURONED, head_axis, neuron_axis
from dissect.models.block_names import OUTSIDE_BLOCKS
from dissect.models.dtypes import dtype_name
from dissect.models.parameters import in_checkpoint, layer_block_parameters, outside_block_parameters
from dissect.models.sharding.sharded import is_sharded
from dissect.undoing.change import undone
from dissect.unlearning.config.train_config import LORA_BLOCKS, TrainConfig
from dissect.unlearning.methods import METHODS
from dissect.unlearning.parameters.masters import Copy, LowRank, Master, Slice, Whole


def masters(model: HookedTransformer, config: TrainConfig) -> list[Master]:
    """Make one master for each parameter that ``config`` trains.

    Raises:
        DissectError: as ``check_trainable``.
    """
    parameters = dict(model.named_parameters())
    return [_master(name, parameters[name], config) for name in check_trainable(model, config)]


def check_trainable(model: HookedTransformer, config: TrainConfig) -> list[str]:
    """Return the names of the parameters that are trained, after checking that they can be.

    Raises:
        DissectError: a block, layer, head or neuron that the model does not have, or a dtype that the configuration
            cannot train.
    """
    parameters = dict(model.named_parameters())
    names = trained_names(model, config)
    if not names:
        raise DissectError("these settings train no parameter: choose other blocks or layers")
    if any(parameters[name].is_meta for name in names):
        raise DissectError("the model's weights are not in memory: load it again")
    dtype = parameters[names[0]].dtype
    if dtype not in (torch.float32, torch.float64, torch.bfloat16):
        raise DissectError(
            f"weights must be float32, float64 or bfloat16 to be trained, these are {dtype_name(dtype)}: load(..., "
            "dtype='float32' or 'bfloat16')"
        )
    if dtype == torch.bfloat16 and is_sharded(model) and not config.bf16_inplace:
        raise DissectError(
            "AdamW steps float32 weights, these are sharded bfloat16: load(..., dtype='float32', "
            "compute_dtype='bfloat16', mesh=...)"
        )
    if config.bf16_inplace and dtype != torch.bfloat16:
        raise DissectError(
            f"bf16_inplace steps bfloat16 weights, these are {dtype_name(dtype)}: load(..., dtype='bfloat16')"
        )
    for name in names:
        for axis, members, word in _parts(name, config):
            size = parameters[name].shape[axis]
            if max(members) >= size:
                raise DissectError(f"no {word} {max(members)} in {name}: it has 0 to {size - 1}")
    return names


def trained_names(model: HookedTransformer, config: TrainConfig) -> list[str]:
    """Return the names of the parameters that are trained, in the model's order.

    Raises:
        DissectError: a block or layer that the model does not have, or a block that has no such part.
    """
    stored, config = in_checkpoint(model), _with_scope(model, config)
    blocks = config.blocks or (LORA_BLOCKS if config.lora_rank else ())
    if not blocks and config.layers is None and config.heads is None and config.neurons is None:
        return [name for name in stored if not _is_after(name, config)]
    if not blocks:
        blocks = tuple(_those_with_parts(config, model)) or ("block",)
    _check_parts(blocks, config)
    trained: set[str] = set()
    for block in blocks:
        trained.update(_names(model, block, config.layers))
    return [name for name in stored if name in trained and not _is_after(name, config)]


@undone
def only_these(model: HookedTransformer, names: Sequence[str]) -> Iterator[None]:
    """Let only these parameters require gradients in the body; afterwards all do as they did before, and have none."""
    trained = set(names)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    try:
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])
            parameter.grad = None


def _with_scope(model: HookedTransformer, config: TrainConfig) -> TrainConfig:
    """Set the method's own scope where none is set: a block of the layer that it steers and of the two before it."""
    scope, layer = METHODS[config.method].scope, config.steering_layer
    if not scope or config.blocks or config.heads or config.neurons or config.layers is not None or layer is None:
        return config
    return replace(config, blocks=(scope,), layers=tuple(range(max(0, layer - 2), layer + 1)))


def _is_after(name: str, config: TrainConfig) -> bool:
    """Return True if the parameter is used only after the steered layer: no gradient of its states gets there."""
    if METHODS[config.method].sees != "states" or config.steering_layer is None:
        return False
    if name.startswith("blocks."):
        return int(name.split(".")[1]) > config.steering_layer
    return name.split(".")[0] in ("ln_final", "unembed")


def _master(name: str, parameter: torch.nn.Parameter, config: TrainConfig) -> Master:
    if config.lora_rank:
        return LowRank(name, parameter, config.lora_rank, config.lora_alpha, config.seed)
    for axis, members, _ in _parts(name, config):
        return Slice(name, parameter, axis, sorted(set(members)))
    if config.bf16_inplace or parameter.dtype in (torch.float32, torch.float64):
        return Whole(name, parameter)
    return Copy(name, parameter)


def _parts(name: str, config: TrainConfig) -> Iterator[tuple[int, Sequence[int], str]]:
    """Axis, members and name of the heads or neurons that are trained, where not all of them are."""
    if config.heads is not None:
        yield head_axis(name), config.heads, "head"
    if config.neurons is not None:
        yield neuron_axis(name), config.neurons, "neuron"


def _names(model: HookedTransformer, block: str, layers: Sequence[int] | None) -> tuple[str, ...]:
    if block not in OUTSIDE_BLOCKS:
        trained = range(model.cfg.n_layers) if layers is None else layers
        return tuple(name for layer in trained for name in layer_block_parameters(model, block, layer))
    if layers is not None:
        raise DissectError(f"{block!r} stands outside the layers: leave layers={list(layers)} out, or the block")
    return outside_block_parameters(model, block)


def _those_with_parts(config: TrainConfig, model: HookedTransformer) -> Iterator[str]:
    """Blocks that have heads or neurons, where these are set and blocks are not."""
    headed = HEADED if config.heads is not None else ()
    for block in headed or (NEURONED if config.neurons is not None else ()):
        try:
            layer_block_parameters(model, block, 0)
        except DissectError:
            continue  # an MLP without a gate
        yield block


def _check_parts(blocks: Sequence[str], config: TrainConfig) -> None:
    for members, allowed, word in ((config.heads, HEADED, "heads"), (config.neurons, NEURONED, "neurons")):
        if members is not None:
            for block in blocks:
                if block not in allowed:
                    raise DissectError(f"{block!r} cannot be cut into {word}: choose from {', '.join(allowed)}")
    if config.lora_rank:
        matrices = (*HEADED, *NEURONED)
        for block in blocks:
            if block not in matrices:
                raise DissectError(f"adapters are put on matrices, not on {block!r}: choose from {', '.join(matrices)}")
