"""Single parameters of a checkpoint, read from its files when they are asked for."""

import os
from collections import OrderedDict
from collections.abc import Iterable

import torch
from jaxtyping import Shaped
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.checkpoint import checkpoint_of
from dissect.models.families import find_family, hooked_config, transformers_config, weight_map
from dissect.models.families.family import Family
from dissect.models.files.fingerprint import digest_of
from dissect.models.files.hub import read_json
from dissect.models.files.weight_files import WeightFiles, locate
from dissect.models.layout import constant_of


class StoredParameters:
    """The parameters of a checkpoint that is not in memory, in the form they have in a loaded model.

    Only the tensors that hold what is asked for are read. The latest ones are kept: ``keep`` of them, so that a sweep
    over windows of that many reads each tensor once.
    """

    def __init__(self, files: WeightFiles, family: Family, like: HookedTransformer, where: str) -> None:
        self._files, self._family, self._like, self._where = files, family, like, where
        self._weight_of = {param: weight for weight in files.weights for param in weight.params}
        self._digests: dict[str, str] | None = None
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self.keep = 1

    @classmethod
    def of(cls, model: HookedTransformer) -> "StoredParameters":
        """The files that ``model`` was loaded from; what is read has to be what was loaded.

        Raises:
            DissectError: the model did not come from files, or these are not what they were.
        """
        info = checkpoint_of(model)
        family = find_family(info.config)
        weights = weight_map(family, transformers_config(family, info.config), model.cfg)
        files = WeightFiles.open(info.path, info.adapter, family, weights, tied=info.tied)
        stored = cls(files, family, model, str(info.path))
        stored._digests = dict(info.digests)
        return stored

    @classmethod
    def at(cls, path: str | os.PathLike[str], like: HookedTransformer) -> "StoredParameters":
        """The files at ``path`` (a directory, a hub id or an adapter), to be put into ``like``.

        Raises:
            DissectError: no such checkpoint, or of another architecture.
        """
        directory, adapter = locate(path)
        config = read_json(directory / "config.json")
        family, ours = find_family(config), checkpoint_of(like).architecture
        if (family.computes_as or family.architecture) != like.cfg.original_architecture:
            raise DissectError(f"{path} is a {family.architecture}, the model is a {ours}: nothing can be swapped")
        native = transformers_config(family, config)
        weights = weight_map(family, native, hooked_config(family, native, device="cpu"))
        tied = bool(native.tie_word_embeddings)
        return cls(WeightFiles.open(directory, adapter, family, weights, tied=tied), family, like, os.fspath(path))

    def check(self, names: Iterable[str]) -> None:
        """Refuse parameters that the files do not have, or have in another shape, before anything is read.

        Raises:
            DissectError: names the first of them and both shapes.
        """
        for name in names:
            ours, theirs = tuple(self._like.get_parameter(name).shape), self._shape(name)
            if theirs is None:
                raise DissectError(f"{self._where} has no {name}: it cannot be put into the model")
            if ours != theirs:
                raise DissectError(f"{name} is {list(theirs)} in {self._where}, {list(ours)} in the model")

    def parameter(self, name: str) -> Shaped[Tensor, "..."]:
        """The values of a parameter, on the device and in the dtype of the model.

        Raises:
            DissectError: the files do not have it, or have changed since they were loaded.
        """
        if name not in self._kept:
            self._kept.update(self._read(name))
        self._kept.move_to_end(name)
        while len(self._kept) > max(self.keep, 1):
            self._kept.popitem(last=False)
        return self._kept[name]

    def _read(self, name: str) -> dict[str, Tensor]:
        dtype, device = self._like.get_parameter(name).dtype, self._device()
        if name not in self._weight_of:
            self.check([name])
            shape = self._like.get_parameter(name).shape
            value = constant_of(self._family, name)
            assert value is not None  # check saw that it is one of the constants
            return {name: torch.full(shape, value, dtype=dtype, device=device)}
        weight = self._weight_of[name]
        stored = self._files.read(weight)
        if self._digests is not None and digest_of(stored) != self._digests.get(weight.name):
            raise DissectError(f"{weight.name} in {self._where} has changed since it was loaded: load the pair again")
        return dict(self._files.parameters(weight, stored, dtype=dtype, device=device))

    def _device(self) -> torch.device:
        device: torch.device = self._like.embed.W_E.device
        return torch.device("cpu") if device.type == "meta" else device

    def _shape(self, name: str) -> tuple[int, ...] | None:
        if name not in self._weight_of:
            return tuple(self._like.get_parameter(name).shape) if constant_of(self._family, name) is not None else None
        weight = self._weight_of[name]
        whole = torch.empty(self._files.source.shape(self._files.names[weight.name]), device="meta")
        return tuple(weight.split(whole)[weight.params.index(name)].shape)
