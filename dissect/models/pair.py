"""Two or three checkpoints that can be compared."""

import logging
import os
from collections.abc import Iterator
from html import escape
from typing import Any, NoReturn

import torch
from transformer_lens import HookedTransformer
from transformers import PreTrainedTokenizerBase

from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.adapter_base import adapter_base_of
from dissect.models.alignment import Alignment, align
from dissect.models.build import unload
from dissect.models.checkpoint import checkpoint_of, checkpoint_or_none
from dissect.models.comparable import check_comparable
from dissect.models.files.load import load, reload
from dissect.models.sharding.sharded import is_sharded
from dissect.models.vocabulary import trim_to_fewest
from dissect.undoing.change import undone_later
from dissect.visible import visible

logger = logging.getLogger(__name__)

ROLES = ("base", "unlearned", "retrained")
FORMER_ROLES = {"retain": "retrained"}
"""Former name of a role to its present one."""


@keywords(renamed={"retain": "retrained"})
class ModelPair:
    """One model before and after unlearning; with ``retrained``, also one trained without the forget data.

    Raises:
        DissectError: the models cannot be compared: another architecture, size, dtype, vocabulary or tokenizer. The
            message names the first difference and both values.
    """

    def __init__(
        self, base: HookedTransformer, unlearned: HookedTransformer, retrained: HookedTransformer | None = None
    ) -> None:
        self.base = base
        self.unlearned = unlearned
        self.retrained = retrained
        self.one_at_a_time = False
        """True if only one of the models is in memory; see ``sequential``."""
        self._devices: dict[str, torch.device] = {}
        self._aligned: tuple[dict[str, Any], Alignment] | None = None
        for role, model in self.models().items():
            if role != "base":
                check_comparable(base, model, f"base and {role}")

    @property
    def retain(self) -> NoReturn:
        """Former name of ``retrained``.

        Raises:
            DissectError: always, with the new name.
        """
        raise DissectError("pair.retain is now called pair.retrained")

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that the models share.

        Raises:
            DissectError: the checkpoints came without one.
        """
        tokenizer = self.base.tokenizer or self.unlearned.tokenizer
        if tokenizer is None:
            raise DissectError("these checkpoints came without a tokenizer: put its files into the base's directory")
        return tokenizer

    @property
    def alignment(self) -> Alignment:
        """Distance between the parameters of base and unlearned, block by block; computed once for these weights."""
        which = self.provenance()
        if self._aligned is None or self._aligned[0] != which:
            self._aligned = which, align(*self.roles("base", "unlearned"))
        return self._aligned[1]

    def shapes(self, donor: str, recipient: str) -> tuple[HookedTransformer, HookedTransformer]:
        """The models that play donor and recipient, which may be empty while one is held at a time.

        Raises:
            DissectError: an unknown role, or ``retrained`` where the pair has none.
        """
        return self._role(donor), self._role(recipient)

    def roles(self, donor: str, recipient: str) -> tuple[HookedTransformer, HookedTransformer]:
        """The models that play donor and recipient, both in memory.

        Raises:
            DissectError: as ``shapes``, or only one model is held at a time.
        """
        if self.one_at_a_time:
            raise DissectError(
                "this needs both models at once, and the pair holds one at a time: load it without sequential=True"
            )
        return self.shapes(donor, recipient)

    @undone_later
    def sequential(self) -> Iterator["ModelPair"]:
        """In the body only one of the models is in memory; activation and parameter sweeps wake them in turn.

        Peak memory is then one model plus the donor's cache. Afterwards all are loaded again. Weights are read anew
        from the files, so the models must be as they were loaded.

        Raises:
            DissectError: a model was changed or did not come from files.
        """
        if self.one_at_a_time:
            yield self
            return
        for role, model in self.models().items():
            if is_sharded(model):
                raise DissectError(f"the {role} model is sharded, and sharded models are not unloaded: use more ranks")
            _check_as_loaded(role, model)
        self._devices = {role: model.embed.W_E.device for role, model in self.models().items()}
        try:
            self.one_at_a_time = True
            for model in self.models().values():
                unload(model)
            yield self
        finally:
            for role, model in self.models().items():
                if model.embed.W_E.is_meta:
                    reload(model, device=self._devices[role], progress=False)
            self.one_at_a_time = False

    def wake(self, model: HookedTransformer) -> None:
        """See that this model of the pair is in memory; while one is held at a time, that only it is.

        Raises:
            DissectError: another one would have to go, and was changed since it was loaded.
        """
        if not self.one_at_a_time:
            return
        for role, other in self.models().items():
            if other is not model and not other.embed.W_E.is_meta:
                _check_as_loaded(role, other)
                unload(other)
        for role, other in self.models().items():  # only now: there is room for one
            if other is model and other.embed.W_E.is_meta:
                reload(other, device=self._devices[role], progress=False)

    def provenance(self) -> dict[str, Any]:
        """Path, fingerprint and quantisation of each checkpoint, for the attributes of results."""
        origin = {}
        for role, model in self.models().items():
            checkpoint = checkpoint_or_none(model)
            if checkpoint is not None:
                origin[f"{role}_path"] = str(checkpoint.path)
                origin[f"{role}_fingerprint"] = checkpoint.fingerprint
                if checkpoint.quantised:
                    origin[f"{role}_quantised"] = checkpoint.quantised
        return origin

    def __repr__(self) -> str:
        cfg = self.base.cfg
        lines = [f"ModelPair: {cfg.original_architecture}, {cfg.n_layers} layers of width {cfg.d_model}"]
        for role, model in self.models().items():
            checkpoint = checkpoint_or_none(model)
            if checkpoint is not None:
                lines.append(f"  {role:<10}{checkpoint.path}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        cfg = self.base.cfg
        rows = []
        for role, model in self.models().items():
            checkpoint = checkpoint_or_none(model)
            path = "" if checkpoint is None else visible(str(checkpoint.path))
            rows.append(
                f'<tr><th style="text-align:left">{role}</th><td style="text-align:left">{escape(path)}</td></tr>'
            )
        size = f"{cfg.original_architecture}, {cfg.n_layers} layers of width {cfg.d_model}"
        following = "dissect.verdict(pair, forget=...), dissect.explore(pair), dissect.report(pair, forget=...)"
        return (
            f"<p><b>ModelPair</b>: {escape(str(size))}</p><table>{''.join(rows)}</table>"
            f"<p>Next: <code>{following}</code></p>"
        )

    def models(self) -> dict[str, HookedTransformer]:
        """The models by role, without those that there are not."""
        models = {role: getattr(self, role) for role in ROLES}
        return {role: model for role, model in models.items() if model is not None}

    def _role(self, name: str) -> HookedTransformer:
        if name not in ROLES:
            if name in FORMER_ROLES:
                raise DissectError(f"no model {name!r} in a pair: it is now called {FORMER_ROLES[name]!r}")
            raise DissectError(f"no model {name!r} in a pair: choose from {', '.join(ROLES)}")
        model = getattr(self, name)
        if model is None:
            raise DissectError(
                "the pair has no retrained model: give one with load_pair(base, unlearned, retrained=...)"
            )
        return model


def _check_as_loaded(role: str, model: HookedTransformer) -> None:
    info = checkpoint_of(model)
    if info.quantised:
        raise DissectError(f"the {role} model is quantised, which needs both models in memory: leave sequential out")
    if not info.on_disk:
        raise DissectError(f"the {role} model was changed since it was loaded: save it and load the pair again")


@keywords(renamed={"retain": "retrained"})
def load_pair(
    base: str | os.PathLike[str] | HookedTransformer,
    unlearned: str | os.PathLike[str] | HookedTransformer,
    *,
    retrained: str | os.PathLike[str] | HookedTransformer | None = None,
    adapter_base: str | os.PathLike[str] | None = None,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device | None = None,
    mesh: Any = None,
    sequential: bool = False,
    allow_extra_rows: bool = False,
    progress: bool = True,
) -> ModelPair:
    """Load checkpoints that are to be compared; models that are loaded already are taken as they are.

    Args:
        base, unlearned, retrained: as for ``dissect.load``: directories, hub ids, adapters.
        adapter_base: the base model of every adapter among them, instead of those that the adapters record. By default
            ``base`` takes the place of a recorded one that cannot be had or is stored in 4 bits; the log says so.
        dtype, device: of all of them.
        mesh: shard all of them over its ranks; see ``dissect.load``.
        sequential: never hold two models at once: as if all that is done with the pair were done in
            ``with pair.sequential()``, the loading included.
        allow_extra_rows: where the embeddings differ in their number of rows alone, as by an added padding token, drop
            the rows that not all of them have. The tokenizers have to agree on the others.

    Raises:
        DissectError: one cannot be loaded, or they cannot be compared.

    Example:
        >>> dissect.load_pair("runs/demo/base", "runs/demo/npo", retrained="runs/demo/retrained")
        ModelPair: LlamaForCausalLM, ... layers of width ...
          base      runs/demo/base
          unlearned runs/demo/npo
          retrained runs/demo/retrained
    """
    if allow_extra_rows and (sequential or mesh is not None):
        raise DissectError("allow_extra_rows=True drops rows of loaded models: leave sequential and mesh out")
    if mesh is not None and sequential:
        raise DissectError("sequential=True holds one model at a time, a mesh holds all in parts: choose one of them")
    devices: dict[str, torch.device] = {}

    def get(role: str, source: str | os.PathLike[str] | HookedTransformer) -> HookedTransformer:
        if isinstance(source, HookedTransformer):
            if sequential:
                raise DissectError(f"sequential=True reads models from files, but {role} is one that is loaded already")
            return source
        under = adapter_base_of(source, given=adapter_base, stand_in=None if role == "base" else base)
        model = load(source, dtype=dtype, device=device, mesh=mesh, base=under, progress=progress)
        devices[role] = model.embed.W_E.device
        if sequential:
            unload(model)
        return model

    first, second = get("base", base), get("unlearned", unlearned)
    third = None if retrained is None else get("retrained", retrained)
    if allow_extra_rows:
        trim_to_fewest(model for model in (first, second, third) if model is not None)
    pair = ModelPair(first, second, third)
    if sequential:
        pair.one_at_a_time, pair._devices = True, devices
    return pair
