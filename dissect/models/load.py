"""A Hugging Face checkpoint as a ``HookedTransformer``: raw weights, its own tokenizer, tensor by tensor."""

import os
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.adapter import adapted_source, is_adapter, recorded_base
from dissect.models.build import build_empty, fill_constants, put_parameter
from dissect.models.check import check_dtypes, check_names, check_shapes
from dissect.models.checkpoint import CheckpointInfo
from dissect.models.dtypes import dtype_name, find_dtype
from dissect.models.families import find_family, hooked_config, transformers_config, weight_map
from dissect.models.families.weights import Weight
from dissect.models.fingerprint import Digest
from dissect.models.hub import read_json, resolve
from dissect.models.reader import TensorSource, open_source
from dissect.models.tokenizer import attach_tokenizer, has_tokenizer, load_tokenizer


def load(
    path: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device | None = None,
    revision: str | None = None,
    base: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> HookedTransformer:
    """Load a checkpoint as a ``HookedTransformer`` with its tokenizer, in evaluation mode.

    The weights are those of the files: nothing is folded or centred. The architecture is taken from ``config.json``,
    never from a name. Parameters that the checkpoint does not have (biases that TransformerLens adds) are zero and
    frozen. A tied embedding is one parameter: ``model.unembed.W_U`` is a view of ``model.embed.W_E``, and its gradient
    is the sum over both uses. Matrices lie in memory as in the files, (out, in), because TransformerLens otherwise
    transposes each of them in every forward pass; they are therefore transposed views, not contiguous tensors.

    Args:
        path: a directory with ``config.json`` and weights (safetensors or ``pytorch_model.bin``, one file or many), a
            hub id, or the directory of a PEFT LoRA adapter, which is merged into its base.
        dtype: of the model: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"float64"``, a ``torch.dtype``, or
            ``"auto"`` for that of the files.
        device: where the model goes; by default the GPU if there is one.
        revision: branch, tag or commit of a hub id.
        base: the base model of an adapter, instead of the one that the adapter records.
        progress: show a bar where loading takes over a second.

    Returns:
        The model; ``model.checkpoint`` says where it came from, ``model.tokenizer`` is the checkpoint's own.

    Raises:
        DissectError: no such checkpoint, damaged or non-finite weights, an architecture or a feature that a
            HookedTransformer cannot express, tensors that are missing or left over.
    """
    directory, adapter = _locate(path, revision=revision, base=base)
    config = read_json(directory / "config.json")
    family = find_family(config)
    native = transformers_config(family, config)
    source: TensorSource = open_source(directory)
    tied = bool(native.tie_word_embeddings)
    # A map needs a configuration, and "auto" needs the map: the dtype is put in afterwards.
    cfg = hooked_config(family, native, device="cpu")
    weights = weight_map(family, native, cfg)
    stored_names = check_names(source, weights, family, tied=tied)
    stored_dtype = check_dtypes(source, stored_names.values())
    if adapter is not None:
        source = adapted_source(source, adapter, weights, stored_names, tied=tied)
    wanted_dtype = find_dtype(stored_dtype if dtype == "auto" else dtype)
    wanted_device = _device(device)
    cfg.dtype = wanted_dtype
    model = build_empty(family, cfg, tied=tied)
    frozen = frozenset(name for name, _ in model.named_parameters()) - {p for w in weights for p in w.params}
    check_shapes(model, weights, source, stored_names)
    by_stored = {stored_names[weight.name]: weight for weight in weights}
    digest = Digest(config)
    for name in tqdm(source.order(by_stored), desc="loading", unit="tensor", delay=1.0, disable=not progress):
        _fill(model, by_stored[name], source.read(name), name, dtype=wanted_dtype, device=wanted_device, digest=digest)
    fill_constants(model, family, frozen, dtype=wanted_dtype, device=wanted_device)
    model.to(str(wanted_device), print_details=False)
    home = adapter if adapter is not None and has_tokenizer(adapter) else directory
    padding_side = attach_tokenizer(model, load_tokenizer(home))
    generation = directory / "generation_config.json"
    model.checkpoint = CheckpointInfo(
        path=directory,
        source=os.fspath(path),
        revision=revision,
        adapter=adapter,
        config=config,
        generation_config=read_json(generation) if generation.is_file() else None,
        architecture=family.architecture,
        dtype=stored_dtype,
        fingerprint=digest.hexdigest(),
        tied=tied,
        frozen=frozen,
        padding_side=padding_side,
    )
    return model


def _locate(
    path: str | os.PathLike[str], *, revision: str | None, base: str | os.PathLike[str] | None
) -> tuple[Path, Path | None]:
    """Directory of the weights, and of the adapter if ``path`` is one."""
    directory = resolve(path, revision=revision)
    if not is_adapter(directory):
        if base is not None:
            raise DissectError(f"base= is for adapters, but {path} has no adapter_config.json")
        return directory, None
    if base is not None:
        return resolve(base), directory
    recorded, recorded_revision = recorded_base(directory)
    try:
        found = resolve(recorded, revision=recorded_revision if not Path(recorded).is_dir() else None)
    except DissectError as error:
        raise DissectError(f"{path} is an adapter whose base cannot be found: {error}; give it with base=") from None
    return found, directory


def _fill(
    model: HookedTransformer,
    weight: Weight,
    stored: Shaped[Tensor, "..."],
    name: str,
    *,
    dtype: torch.dtype,
    device: torch.device,
    digest: Digest,
) -> None:
    """Copy one tensor of the files into the parameters that it holds."""
    digest.add(weight.name, stored)
    for param, part in zip(weight.params, weight.split(stored), strict=True):
        # empty_like keeps the order of the axes in memory: the parameter lies as in the file, see load.
        value = torch.empty_like(part, dtype=dtype, device=device).copy_(part)
        _check_finite(value, part, name)
        put_parameter(model, param, value, requires_grad=True)


def _check_finite(value: Shaped[Tensor, "..."], stored: Shaped[Tensor, "..."], name: str) -> None:
    if all(bool(torch.isfinite(end)) for end in torch.aminmax(value)):
        return
    if all(bool(torch.isfinite(end)) for end in torch.aminmax(stored)):
        raise DissectError(f"{name} has values too large for {dtype_name(value.dtype)}: load with another dtype")
    raise DissectError(f"{name} holds NaN or infinite values: the checkpoint is damaged, or its training diverged")


def _device(wanted: str | torch.device | None) -> torch.device:
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        raise DissectError(f"device {str(wanted)!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
