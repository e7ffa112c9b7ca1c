"""A Hugging Face checkpoint as a ``HookedTransformer``: raw weights, its own tokenizer, tensor by tensor."""

import os
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer
from transformers import PreTrainedTokenizerBase

from dissect.distributed import world
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.build import build_empty, fill_constants, put_parameter
from dissect.models.checkpoint import CheckpointInfo, checkpoint_of
from dissect.models.dtypes import find_dtype
from dissect.models.families import find_family, hooked_config, transformers_config, weight_map
from dissect.models.files.adapter import resized_vocabulary
from dissect.models.files.file_check import check_shapes
from dissect.models.files.fingerprint import Digest
from dissect.models.files.hub import read_json
from dissect.models.files.load_sharded import fill_shards, materialise
from dissect.models.files.tokenizer import attach_tokenizer, has_tokenizer, load_tokenizer
from dissect.models.files.weight_files import WeightFiles, locate
from dissect.models.sharding.sharded import shard
from dissect.undoing.gradient_mode import gradients_as_they_are


@keywords()
@gradients_as_they_are()
def load(
    path: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device | None = None,
    revision: str | None = None,
    base: str | os.PathLike[str] | None = None,
    mesh: Any = None,
    compute_dtype: str | torch.dtype | None = None,
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
            hub id, or the directory of a PEFT LoRA adapter, which is merged into its base. Where a directory holds
            whole weights and an adapter, the weights are taken, unless ``base`` is given.
        dtype: of the model: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"float64"``, a ``torch.dtype``, or
            ``"auto"`` for that of the files.
        device: where the model goes; by default the GPU if there is one.
        revision: branch, tag or commit of a hub id.
        base: the base model of an adapter, instead of the one that the adapter records.
        mesh: shard the model over the ranks of this ``DeviceMesh``, for instance ``dissect.distributed.mesh()``: each
            reads and holds its own part only. All of them have to call this. ``device`` is then that of the mesh.
        compute_dtype: with a mesh: the format of the forward and backward passes, where parameters have another, for
            instance ``dtype="float32", compute_dtype="bfloat16"`` for training.
        progress: show a bar where loading takes over a second.

    Returns:
        The model; ``model.checkpoint`` says where it came from, ``model.tokenizer`` is the checkpoint's own.

    Raises:
        DissectError: no such checkpoint, damaged or non-finite weights, an architecture or a feature that a
            HookedTransformer cannot express, tensors that are missing or left over.

    Example:
        >>> model = dissect.load("runs/demo/base")
        >>> model.cfg.original_architecture
        'LlamaForCausalLM'
        >>> model.checkpoint.fingerprint
        '...'
    """
    directory, adapter = locate(path, revision=revision, base=base)
    try:
        return _loaded(
            path,
            directory,
            adapter,
            revision=revision,
            dtype=dtype,
            device=device,
            mesh=mesh,
            compute_dtype=compute_dtype,
            progress=progress,
        )
    except DissectError as error:  # of two or three checkpoints that are loaded, which one
        raise error if os.fspath(path) in str(error) else DissectError(f"{path}: {error}") from error


def _loaded(
    path: str | os.PathLike[str],
    directory: Path,
    adapter: Path | None,
    *,
    revision: str | None,
    dtype: str | torch.dtype,
    device: str | torch.device | None,
    mesh: Any,
    compute_dtype: str | torch.dtype | None,
    progress: bool,
) -> HookedTransformer:
    wanted_device = _device(device) if mesh is None else _device_of(mesh, device)
    compute = _compute_dtype(compute_dtype, mesh)
    config = read_json(directory / "config.json")
    family = find_family(config)
    native = transformers_config(family, config)
    if adapter is not None and (rows := resized_vocabulary(adapter, native.vocab_size)) != native.vocab_size:
        if family.translate is not None:
            raise DissectError(f"{adapter} resizes the embedding of a {family.architecture}: merge it with peft first")
        config = config | {"vocab_size": rows}
        native = transformers_config(family, config)
    tied = bool(native.tie_word_embeddings)
    # A map needs a configuration, and "auto" needs the map: the dtype is put in afterwards.
    cfg = hooked_config(family, native, device="cpu")
    files = WeightFiles.open(directory, adapter, family, weight_map(family, native, cfg), tied=tied)
    wanted_dtype = find_dtype(files.dtype if dtype == "auto" else dtype)
    cfg.dtype = wanted_dtype
    model = build_empty(family, cfg, tied=tied)
    check_shapes(model, files.weights, files.source, files.names)
    frozen = frozenset(name for name, _ in model.named_parameters()) - files.params
    if mesh is not None:
        shard(model, mesh, compute_dtype=None if compute == wanted_dtype else compute)
        materialise(model, wanted_device)
        digest = fill_shards(files, model, family, config, progress=progress)
    else:
        digest = _fill(files, model, config, dtype=wanted_dtype, device=wanted_device, progress=progress)
        fill_constants(model, family, frozen, dtype=wanted_dtype, device=wanted_device)
    model.to(str(wanted_device), print_details=False)
    padding_side = attach_tokenizer(model, _tokenizer_in(directory, adapter))
    generation = directory / "generation_config.json"
    model.checkpoint = CheckpointInfo(
        path=directory,
        source=os.fspath(path),
        revision=revision,
        adapter=adapter,
        config=config,
        generation_config=read_json(generation) if generation.is_file() else None,
        architecture=family.architecture,
        dtype=files.dtype,
        fingerprint=digest.hexdigest(),
        digests=digest.tensors,
        tied=tied,
        frozen=frozen,
        padding_side=padding_side,
    )
    return model


def reload(model: HookedTransformer, *, device: torch.device, progress: bool = True) -> None:
    """Fill a model that ``unload`` emptied from the files that it was loaded from, as it was then.

    Raises:
        DissectError: the files hold other weights by now.
    """
    info = checkpoint_of(model)
    family = find_family(info.config)
    native = transformers_config(family, info.config)
    files = WeightFiles.open(info.path, info.adapter, family, weight_map(family, native, model.cfg), tied=info.tied)
    digest = _fill(files, model, info.config, dtype=model.cfg.dtype, device=device, progress=progress)
    if digest.hexdigest() != info.fingerprint:
        raise DissectError(f"the weights in {info.path} have changed since they were loaded: load the pair again")
    fill_constants(model, family, info.frozen, dtype=model.cfg.dtype, device=device)


def _fill(
    files: WeightFiles,
    model: HookedTransformer,
    config: dict[str, Any],
    *,
    dtype: torch.dtype,
    device: torch.device,
    progress: bool,
) -> Digest:
    """Copy every tensor into the parameters that it holds, one at a time."""
    digest = Digest(config)
    for weight in tqdm(files.ordered(), desc="loading", unit="tensor", delay=1.0, disable=not progress):
        stored = files.read(weight)
        digest.add(weight.name, stored)
        for param, value in files.parameters(weight, stored, dtype=dtype, device=device):
            put_parameter(model, param, value, requires_grad=True)
        del stored
    return digest


def tokenizer_of(
    path: str | os.PathLike[str], *, base: str | os.PathLike[str] | None = None
) -> PreTrainedTokenizerBase | None:
    """The tokenizer that ``load`` would attach, without the model; None where the checkpoint has none.

    Raises:
        DissectError: no such checkpoint, or its tokenizer cannot be read.
    """
    return _tokenizer_in(*locate(path, base=base))


def _tokenizer_in(directory: Path, adapter: Path | None) -> PreTrainedTokenizerBase | None:
    """The adapter's own, where it has one."""
    return load_tokenizer(adapter if adapter is not None and has_tokenizer(adapter) else directory)


def _device_of(mesh: Any, wanted: str | torch.device | None) -> torch.device:
    if not hasattr(mesh, "mesh_dim_names"):
        raise DissectError(f"mesh={mesh!r:.60} is no DeviceMesh: give dissect.distributed.mesh()")
    if wanted is not None and torch.device(wanted).type != mesh.device_type:
        raise DissectError(f"device {str(wanted)!r} is not that of the mesh, {mesh.device_type!r}: leave device out")
    return torch.device(mesh.device_type, torch.cuda.current_device()) if mesh.device_type == "cuda" else _device("cpu")


def _compute_dtype(wanted: str | torch.dtype | None, mesh: Any) -> torch.dtype | None:
    if wanted is not None and mesh is None:
        raise DissectError("compute_dtype is for sharded models: give a mesh as well, or choose dtype alone")
    return None if wanted is None else find_dtype(wanted)


def _own_gpu() -> torch.device:
    """The GPU; of several ranks on a machine each has its own, as long as there are enough."""
    here = world()
    return torch.device("cuda" if here.size == 1 else f"cuda:{here.local_rank % torch.cuda.device_count()}")


def _device(wanted: str | torch.device | None) -> torch.device:
    if wanted is None:
        return _own_gpu() if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        raise DissectError(f"device {str(wanted)!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
