"""A checkpoint as its ``config.json``, the headers of its weights and its tokenizer files describe it: no torch."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissect.errors import DissectError
from dissect.models.auto_config import configurations_alone
from dissect.models.families import find_family, transformers_config
from dissect.models.families.family import Family
from dissect.models.files.file_check import check_dtypes, fitting_names
from dissect.models.files.headers import Headers, read_headers, weight_file_names
from dissect.models.files.hub import fetch_small_files, read_json
from dissect.models.layout import Layout, layout_of

_PUTS_BOS = ("puts nothing first", "puts BOS first")


@dataclass(frozen=True)
class Description:
    """A checkpoint as it is known before its weights are read."""

    architecture: str
    layout: Layout
    weights: str
    """Dtype of most of the weights, or why it cannot be said without reading them."""
    tokenizer: str
    """The tokenizer as its file has it; some classes of transformers add tokens of their own."""
    chat_template: bool
    """True if the tokenizer has one."""


def described_by_files(source: str | os.PathLike[str]) -> Description | None:
    """The description of a directory or a hub id, of which only small files are downloaded.

    Returns:
        None for an adapter, whose weights and base have to be looked at.

    Raises:
        DissectError: no such checkpoint, an architecture that is not supported, or tensors that are not those that the
            architecture needs.
    """
    directory = fetch_small_files(source)
    if (directory / "adapter_config.json").is_file():
        return None
    config = read_json(directory / "config.json")
    try:
        with configurations_alone():
            family = find_family(config)
            layout = layout_of(family, transformers_config(family, config))
        weights = _weights(directory, family, layout)
    except DissectError as error:
        raise error if os.fspath(source) in str(error) else DissectError(f"{source}: {error}") from error
    settings = _tokenizer_settings(directory)
    return Description(
        architecture=family.architecture,
        layout=layout,
        weights=weights,
        tokenizer=_tokenizer(directory, settings),
        chat_template="chat_template" in settings or any(directory.glob("chat_template*")),
    )


def _weights(directory: Path, family: Family, layout: Layout) -> str:
    if files := weight_file_names(directory, "model", "safetensors"):
        headers = read_headers(files)
        names, _ = fitting_names(headers.names(), layout.weights, family, tied=layout.tied)
        dtype = check_dtypes(headers, names.values())
        _check_sizes(headers, names, layout)
        return dtype
    if files := weight_file_names(directory, "pytorch_model", "bin"):
        return f"{files[0].name}, not read"
    return "no weights here"


def _check_sizes(headers: Headers, names: Mapping[str, str], layout: Layout) -> None:
    for weight in layout.weights:
        shapes = [layout.stored[param] for param in weight.params]
        shape = headers.shape(names[weight.name])
        if math.prod(shape) != sum(map(math.prod, shapes)):
            wanted = " and ".join(str(list(shape)) for shape in shapes)
            raise DissectError(f"{names[weight.name]} has shape {list(shape)}, config.json says {wanted}")


def _tokenizer_settings(directory: Path) -> dict[str, Any]:
    names = ("special_tokens_map.json", "tokenizer_config.json")  # what the second says counts
    settings: dict[str, Any] = {}
    for name in names:
        if (directory / name).is_file():
            settings |= read_json(directory / name)
    return settings


def _tokenizer(directory: Path, settings: Mapping[str, Any]) -> str:
    file = directory / "tokenizer.json"
    if not file.is_file():
        others = [
            name
            for name in ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
            if (directory / name).is_file()
        ]
        return f"{others[0]}, not read" if others else "none"
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # its backend raises a bare Exception
        raise DissectError(f"the tokenizer in {directory} cannot be read: {' '.join(str(error).split())}") from None
    specials = {name: _content(settings.get(f"{name}_token")) for name in ("bos", "eos")}
    said = ", ".join(f"{name} {token!r}" for name, token in specials.items() if token is not None)
    bos = None if specials["bos"] is None else tokenizer.token_to_id(specials["bos"])
    puts = bos is not None and tokenizer.encode("a").ids[:1] == [bos]
    count = tokenizer.get_vocab_size(with_added_tokens=True)
    return f"{file.name}, {count} tokens, {said or 'no bos, no eos'}, {_PUTS_BOS[puts]}"


def _content(token: Any) -> str | None:
    """A special token's text, which is written plainly or with how it is stripped."""
    return token.get("content") if isinstance(token, Mapping) else token
