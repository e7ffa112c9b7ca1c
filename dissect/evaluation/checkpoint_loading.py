"""The checkpoints of an evaluation: loaded when they are needed, with base and retrained model beside them."""

from collections.abc import Mapping

from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.evaluation.sets import answered, with_derived
from dissect.evaluation.sources import Source
from dissect.evaluation.tools import tools
from dissect.measures.examined import Settings, Subject
from dissect.models.comparable import check_comparable
from dissect.models.files.load import load

BASE, RETRAINED = "base", "retrained"
"""What the models in these roles are called in results."""


class Cast:
    """Loads checkpoints as they are needed; base and retrained model stay, the others come and go."""

    def __init__(
        self,
        roles: Mapping[str, Source],
        sets: Mapping[str, Facts],
        settings: Settings,
        dtype: str,
        device: str | None,
        answers: str,
    ) -> None:
        self.roles, self.settings, self.dtype, self.device = roles, settings, dtype, device
        self._given, self._answers = sets, answers
        self._sets: dict[str, Facts] | None = None
        self._stay: dict[str, Subject] = {}

    def sets(self, model: HookedTransformer) -> dict[str, Facts]:
        """What everybody is asked; ``model`` is the first that was loaded, the base model if there is one."""
        if self._sets is None:
            found = dict(self._given)
            if self._answers == "base":
                asking = self.settings
                how = {k: getattr(asking, k) for k in ("template", "max_new_tokens", "batch_size")}
                found = {name: answered(facts, model, **how) for name, facts in found.items()}
            self._sets = with_derived(found)
        return self._sets

    def subject(self, name: str, source: Source) -> Subject:
        """A checkpoint, with base and retrained model beside it where there are."""
        base, retained = self._role(BASE), self._role(RETRAINED)
        if name in self._stay:  # by now
            return self._stay[name]
        model = self._load(source)
        if base is not None:
            check_comparable(base.model, model, f"base and {name}")
        return Subject(
            model, self.sets(model), name=name, settings=self.settings, base=base, retain=retained, tools=tools()
        )

    def _role(self, role: str) -> Subject | None:
        if role not in self.roles:
            return None
        if role not in self._stay:
            model = self._load(self.roles[role])
            if role == RETRAINED and BASE in self._stay:
                check_comparable(self._stay[BASE].model, model, "base and retrained")
            self._stay[role] = Subject(model, self.sets(model), name=role, settings=self.settings, tools=tools())
            for holder in self._stay.values():
                holder.play(base=self._stay.get(BASE), retain=self._stay.get(RETRAINED))
        return self._stay[role]

    def _load(self, source: Source) -> HookedTransformer:
        if isinstance(source, HookedTransformer):
            return source
        return load(source, dtype=self.dtype, device=self.device, progress=self.settings.progress)
