"""A hooked model back as a Hugging Face checkpoint."""

import copy
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.apart import check_apart
from dissect.distributed import barrier, on_main
from dissect.errors import DissectError
from dissect.files import atomic_directory, check_new_directory
from dissect.keywords import keywords
from dissect.models.checkpoint import CheckpointInfo, checkpoint_of, weights_of
from dissect.models.dtypes import dtype_name, find_dtype
from dissect.models.families import FAMILIES
from dissect.models.families.weights import Weight
from dissect.models.files.file_check import carried_names
from dissect.models.files.reader import open_source
from dissect.models.files.write_tensors import reason_of, write_tensors
from dissect.models.layout import constant_of
from dissect.models.sharding.sharded import is_sharded
from dissect.models.sharding.shards import gathered

_NOT_WRITTEN = ("_name_or_path", "auto_map", "quantization_config", "transformers_version")
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


@keywords()
def save_hf(
    model: HookedTransformer,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dtype: str | torch.dtype | None = None,
    max_shard_size: str | int = "2GB",
    extra: Mapping[str, str] | None = None,
) -> Path:
    """Write a model that `dissect.load` made as a directory that transformers (and dissect) can load.

    ``config.json``, ``generation_config.json`` and the tokenizer are those of the checkpoint it came from. The weights
    are the model's own, bit for bit; a tied embedding is written once. Either the whole directory appears or nothing.

    Args:
        model: possibly trained, restored or transplanted since it was loaded.
        out: a new or empty directory.
        overwrite: replace what is there.
        dtype: of the files; by default that of the model.
        extra: further text files, by name, which appear together with the rest.
        max_shard_size: of one file, in bytes or as ``"2GB"``. About one shard is held in memory besides the model.

    Of a sharded model every rank has to call this; the first gathers and writes one file after the other, and all
    return when the directory is there.

    Returns:
        The directory.

    Raises:
        DissectError: ``out`` is in use, or holds the files that the model came from; the model was not loaded by
            dissect, or a parameter was changed that the checkpoint's format does not have.

    Example:
        >>> model = dissect.load("runs/demo/base")
        >>> dissect.save_hf(model, "runs/copy")
        PosixPath('runs/copy')
        >>> dissect.load("runs/copy").checkpoint.fingerprint == model.checkpoint.fingerprint
        True
    """
    info = checkpoint_of(model)
    if os.path.realpath(out) != os.path.realpath(info.path):  # onto its own files it may be written, but not above them
        check_apart({"out": out}, {"model": info.directories})
    stored_dtype = next(model.parameters()).dtype if dtype is None else find_dtype(dtype)
    limit = _bytes(max_shard_size)
    if is_sharded(model):
        on_main(lambda: check_new_directory(out, overwrite=overwrite))
    _check_frozen(model, info)
    if is_sharded(model) and not model.sharding.writes:
        for _ in hf_tensors(model):
            pass  # takes part in gathering each, which the rank that writes keeps
        barrier()
        return Path(out)
    with atomic_directory(out, overwrite=overwrite) as directory:
        _write_json(directory / "config.json", _config(info, stored_dtype))
        if info.generation_config is not None:
            _write_json(directory / "generation_config.json", info.generation_config)
        save_tokenizer(model, info, directory)
        _save_weights(model, directory, stored_dtype, limit, _carried(info), Path(out))
        for name, text in (extra or {}).items():
            (directory / name).write_text(text, encoding="utf-8")
    if is_sharded(model):
        barrier()
    return Path(out)


def hf_tensors(model: HookedTransformer) -> Iterator[tuple[str, Shaped[Tensor, "..."]]]:
    """Every tensor of the checkpoint that ``model`` would be saved as, by its name in the files.

    Views of the parameters where the layout allows it, copies where a tensor holds several parameters. The output head
    of a tied model is not among them.

    Raises:
        DissectError: the model was not loaded by dissect.
    """
    for weight in weights_of(model):
        yield weight.name, _joined(model, weight)


def _joined(model: HookedTransformer, weight: Weight) -> Shaped[Tensor, "..."]:
    return weight.join([gathered(model.get_parameter(name)) for name in weight.params])


def _carried(info: CheckpointInfo) -> dict[str, Callable[[], Tensor]]:
    """Tensors beside the language model, such as a vision tower: how to read each, by the name to write."""
    family = next(each for each in FAMILIES if each.architecture == info.architecture)
    if not family.carried:
        return {}
    source = open_source(info.path)
    return {new: partial(source.read, old) for old, new in carried_names(source, family).items()}


def _save_weights(
    model: HookedTransformer,
    directory: Path,
    dtype: torch.dtype,
    limit: int,
    carried: Mapping[str, Callable[[], Tensor]],
    final: Path,
) -> None:
    shards = _plan(model, weights_of(model), dtype, limit)
    if carried:
        shards.append([])
    index: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(shards, start=1):
        single = len(shards) == 1
        file = "model.safetensors" if single else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {weight.name: _joined(model, weight).to(dtype).cpu().contiguous() for weight in shard}
        if not shard:  # the last file: what was never in the model, as it was
            tensors = {name: read().contiguous() for name, read in carried.items()}
        write_tensors(tensors, directory / file, {"format": "pt"}, final=final / file)
        index.update(dict.fromkeys(tensors, file))
        total += sum(tensor.nbytes for tensor in tensors.values())
        del tensors
    if len(shards) > 1:
        _write_json(
            directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index}
        )


def _plan(model: HookedTransformer, weights: list[Weight], dtype: torch.dtype, limit: int) -> list[list[Weight]]:
    """Weights grouped into files of at most ``limit`` bytes, or of one tensor where it is larger."""
    shards: list[list[Weight]] = [[]]
    filled = 0
    for weight in weights:
        size = sum(model.get_parameter(name).numel() for name in weight.params) * dtype.itemsize
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(weight)
        filled += size
    return shards


def _check_frozen(model: HookedTransformer, info: CheckpointInfo) -> None:
    family = next(each for each in FAMILIES if each.architecture == info.architecture)
    for name in sorted(info.frozen):
        constant = constant_of(family, name)
        assert constant is not None
        if bool(gathered(model.get_parameter(name)).ne(constant).any()):
            raise DissectError(
                f"{name} was changed, but checkpoints of {info.architecture} have no such parameter: it would be lost"
            )


def _config(info: CheckpointInfo, dtype: torch.dtype) -> dict[str, Any]:
    config = {key: copy.deepcopy(value) for key, value in info.config.items() if key not in _NOT_WRITTEN}
    key = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
    config[key] = dtype_name(dtype)
    config["architectures"] = [info.architecture]
    return config


def save_tokenizer(model: HookedTransformer, info: CheckpointInfo, directory: Path) -> None:
    """The tokenizer's files, if the model has one, with the settings that it came with."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        return
    side = tokenizer.padding_side
    if tokenizer.is_fast:  # the settings of the last call would be written as if they were the tokenizer's own
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    try:
        tokenizer.padding_side = info.padding_side
        tokenizer.save_pretrained(directory)
    except Exception as error:  # what is written by a library in Rust raises a bare Exception
        if "os error" not in str(error):
            raise
        raise DissectError(f"the tokenizer cannot be written to {directory.parent}: {reason_of(error)}") from error
    finally:
        tokenizer.padding_side = side
    settings = directory / "tokenizer_config.json"
    if settings.is_file():  # transformers notes down how it was loaded here
        kept = {k: v for k, v in json.loads(settings.read_text()).items() if k not in ("is_local", "local_files_only")}
        _write_json(settings, kept)


def _bytes(size: str | int) -> int:
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)", size.strip().upper())
    if match is None:
        raise DissectError(f"max_shard_size {size!r} is no size: write for example 500MB or 2GB")
    return int(float(match[1]) * _UNITS[match[2]])


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
