"""The checkpoints of an evaluation: loaded when they are needed, with base and retrained model beside them."""

from collections.abc import Mapping

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.evaluation.sets import answered, with_derived
from dissect.evaluation.sources import CheckpointSource
from dissect.measures.examined import Examined, Settings
from dissect.models.adapter_base import adapter_base_of
from dissect.models.comparable import check_comparable
from dissect.models.files.load import load
from dissect.models.vocabulary import trim_to_fewest

BASE, RETRAINED = "base", "retrained"
"""Names in results of the models that others are compared with."""


class CheckpointLoader:
    """Loads checkpoints as they are needed; base and retrained model stay in memory, the others come and go."""

    def __init__(
        self,
        references: Mapping[str, CheckpointSource],
        sets: Mapping[str, Facts],
        settings: Settings,
        dtype: str,
        device: str | None,
        answers: str,
        adapter_base: str | None = None,
        allow_extra_rows: bool = False,
    ) -> None:
        """``references`` are the base and the retrained model, by those names, where there are any."""
        self._allow_extra_rows = allow_extra_rows
        self._references, self._settings, self._dtype, self._device = references, settings, dtype, device
        self._given, self._answers, self._adapter_base = sets, answers, adapter_base
        self._sets: dict[str, Facts] | None = None
        self._loaded: dict[str, Examined] = {}

    def examined(self, name: str, source: CheckpointSource) -> Examined:
        """Return a checkpoint, with base and retrained model attached where there are any."""
        base, retrained = self._reference(BASE), self._reference(RETRAINED)
        if name in self._loaded:
            return self._loaded[name]
        model = self._load(source)
        self._check(model, name)
        sets = self._sets_for(model)
        return Examined(model, sets, name=name, settings=self._settings, base=base, retrained=retrained)

    def _reference(self, name: str) -> Examined | None:
        if name not in self._references:
            return None
        if name not in self._loaded:
            model = self._load(self._references[name])
            self._check(model, name)
            self._loaded[name] = Examined(model, self._sets_for(model), name=name, settings=self._settings)
            for examined in self._loaded.values():
                examined.attach(base=self._loaded.get(BASE), retrained=self._loaded.get(RETRAINED))
        return self._loaded[name]

    def _check(self, model: HookedTransformer, name: str) -> None:
        """Refuse a model that cannot be compared with the base model, if there is one."""
        if BASE not in self._loaded:
            return
        if self._allow_extra_rows:
            trim_to_fewest([model, *(each.model for each in self._loaded.values())])
        check_comparable(self._loaded[BASE].model, model, f"base and {name}")

    def _sets_for(self, model: HookedTransformer) -> dict[str, Facts]:
        """Return the sets that every checkpoint is asked; ``model`` is the first loaded: the base model if any is."""
        if self._sets is None:
            sets = dict(self._given)
            if self._answers == "base":
                keys = ("template", "chat", "max_new_tokens", "batch_size")
                asking = {key: getattr(self._settings, key) for key in keys}
                sets = {name: answered(facts, model, **asking) for name, facts in sets.items()}
            self._sets = with_derived(sets)
        return self._sets

    def _load(self, source: CheckpointSource) -> HookedTransformer:
        if isinstance(source, HookedTransformer):
            return source
        base = self._references.get(BASE)
        under = adapter_base_of(source, given=self._adapter_base, stand_in=None if source is base else base)
        return load(source, dtype=self._dtype, device=self._device, base=under, progress=self._settings.progress)
