"""Where models are kept: grounds as Hugging Face directories, every other as those of its tensors that differ from one.

Tensors are kept as they are, not as differences: adding a difference gives other bits.
"""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor
from transformer_lens import HookedTransformer

import dissect
from benchmarks.truths.record import RECORDS, Record, read_record
from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.files import atomic_directory, atomic_file

GROUNDS, MODELS, FACTS = "grounds", RECORDS, "facts"
WEIGHTS = "model.safetensors"


def open_truth(directory: str | Path, name: str) -> HookedTransformer:
    """A model of the population.

    Args:
        directory: of one seed, such as ``runs/truths/seed0``.
        name: of a record there.

    Raises:
        DissectError: there is no such model.

    Example:
        >>> model = open_truth("runs/truths/seed0", "mlp-late-npo-1")  # doctest: +SKIP
    """
    return _opened(Path(directory), read_weights(Path(directory), name))


def open_base(directory: str | Path, name: str) -> HookedTransformer:
    """The model that plays the base model beside ``name``: it knew all the facts.

    Raises:
        DissectError: there is no such model.
    """
    directory = Path(directory)
    return _opened(directory, read_weights(directory, read_record(directory, name).base))


def undo(directory: str | Path, name: str) -> tuple[HookedTransformer, str | None]:
    """A suppressed model with its suppression taken off, and the template to ask it with (None: the usual one).

    Raises:
        DissectError: there is no such model, or nothing is stored that would undo it.
    """
    directory = Path(directory)
    record = read_record(directory, name)
    if record.undo is None:
        raise DissectError(f"{name} is a model of class {record.kind}: nothing is stored that undoes it")
    return _opened(directory, undone_weights(directory, record)), record.undo.get("template")


def write_truth(directory: str | Path, name: str, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model of the population (or a ground) as a Hugging Face directory with its tokenizer."""
    return _write(Path(directory), read_weights(Path(directory), name), Path(out), overwrite=overwrite)


def facts_of(directory: str | Path, record: Record) -> dict[str, Facts]:
    """``forget``, ``retain`` (measured) and ``retain_seen`` of a record's forget set."""
    files = {
        part: Path(directory, FACTS, f"{record.forget}.{part}.jsonl") for part in ("forget", "retain", "retain_seen")
    }
    return {part: Facts.read(file) for part, file in files.items()}


def read_weights(directory: Path, name: str) -> dict[str, Tensor]:
    """All weights by their names in the files.

    Raises:
        DissectError: there is no such model.
    """
    ground = directory / GROUNDS / name / WEIGHTS
    if ground.is_file():
        return load_file(ground)
    record = read_record(directory, name)
    weights = load_file(directory / GROUNDS / record.ground / WEIGHTS)
    changed = directory / MODELS / f"{name}.safetensors"
    return weights | (load_file(changed) if changed.is_file() else {})


def undone_weights(directory: Path, record: Record) -> dict[str, Tensor]:
    """The weights with every tensor of the undoing put back as the base has it."""
    assert record.undo is not None
    now, before = read_weights(directory, record.name), read_weights(directory, record.base)
    return put_tensors_back(now, before, record.undo["tensors"])


def put_tensors_back(
    weights: Mapping[str, Tensor], before: Mapping[str, Tensor], names: Iterable[str]
) -> dict[str, Tensor]:
    """The weights with those of ``names`` from ``before``."""
    return {**weights, **{name: before[name] for name in names}}


def write_weights(directory: Path, name: str, ground: str, weights: Mapping[str, Tensor]) -> list[str]:
    """Keep the tensors that differ from the ground's; returns their names."""
    before = load_file(directory / GROUNDS / ground / WEIGHTS)
    changed = {key: value.contiguous() for key, value in weights.items() if not torch.equal(value, before[key])}
    if changed:
        with atomic_file(directory / MODELS / f"{name}.safetensors") as temporary:
            temporary.write_bytes(save(changed, metadata={"format": "pt"}))
    return sorted(changed)


def write_put_back(directory: Path, name: str, entries: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Keep, beside a model, where its entries were trained (masks) and what they were before (values)."""
    tensors = {f"{part} {key}": pair[at] for key, pair in entries.items() for at, part in enumerate(("mask", "value"))}
    with atomic_file(directory / MODELS / f"{name}.put-back.safetensors") as temporary:
        temporary.write_bytes(save(tensors, metadata={"format": "pt"}))


def read_put_back(directory: Path, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Entries that `write_put_back` kept."""
    tensors = load_file(directory / MODELS / f"{name}.put-back.safetensors")
    names = [key.removeprefix("mask ") for key in tensors if key.startswith("mask ")]
    return {name: (tensors[f"mask {name}"], tensors[f"value {name}"]) for name in names}


def _opened(directory: Path, weights: Mapping[str, Tensor]) -> HookedTransformer:
    with tempfile.TemporaryDirectory() as temporary:
        return dissect.load(_write(directory, weights, Path(temporary, "model")), device="cpu", progress=False)


def _write(directory: Path, weights: Mapping[str, Any], out: Path, *, overwrite: bool = False) -> Path:
    source = directory / GROUNDS / "base"
    with atomic_directory(out, overwrite=overwrite) as made:
        for file in source.iterdir():
            if file.name != WEIGHTS:
                shutil.copy(file, made / file.name)
        save_file(dict(weights), made / WEIGHTS, metadata={"format": "pt"})
    return out
