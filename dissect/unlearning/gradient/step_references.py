"""The reference of a run, side by side: taken before training, or a model that is kept."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.models.changing.copying import copied
from dissect.models.sharding.sharded import whole_head
from dissect.undoing.change import undone
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.audit import Audit
from dissect.unlearning.gradient.objective import whole_texts
from dissect.unlearning.gradient.order import TrainStep
from dissect.unlearning.gradient.prompt_rows import PromptRows
from dissect.unlearning.gradient.reference import Distributions, LiveReference, StoredReference, take
from dissect.unlearning.gradient.states import states_before
from dissect.unlearning.gradient.stored_states import take_states
from dissect.unlearning.gradient.training_data import TrainingData
from dissect.unlearning.methods import METHODS
from dissect.unlearning.parameters.masters import Master

Side = Literal["forget", "alternate", "retain"]


class StepReferences:
    """Answers what the objective asks of the reference, micro-batch by micro-batch.

    Made before training: it takes from the model, or from a teacher, whatever the objective compares with.
    """

    def __init__(
        self,
        model: HookedTransformer,
        data: TrainingData,
        config: TrainConfig,
        teacher: HookedTransformer | None,
        masters: Sequence[Master],
        steps: Sequence[TrainStep],
        *,
        progress: bool,
    ) -> None:
        self._model, self._config, self._masters = model, config, masters
        self._stored: dict[Side, StoredReference] = {
            "forget": StoredReference(),
            "alternate": StoredReference(),
            "retain": StoredReference(),
        }
        self._live: HookedTransformer | None = None
        self._audit: Audit | None = None
        if (
            METHODS[config.method].reference is None
            and config.retain_loss not in ("kl", "states")
            and not config.adaptive
        ):
            return
        if config.reference == "live":
            adapters = teacher is None and config.lora_rank  # switched off, they are the reference
            self._live = model if adapters else teacher if teacher is not None else copied(model)
            return
        self._take(model if teacher is None else teacher, data, steps, progress)

    def nll(self, side: Side, prompts: Prompts, indices: list[int]) -> Float[Tensor, " batch"]:
        """NLL of each text under the reference, summed over its scored tokens, in nats (float64)."""
        if self._live is None:
            return self._stored[side].sequence_nll(indices)
        with self._as_before() as model:
            return take(model, prompts, indices, kind="nll", batch_size=len(indices)).sequence_nll(indices)

    def distributions(self, side: Side, rows: PromptRows, indices: list[int]) -> Distributions | LiveReference:
        """Distributions of the reference at the scored positions, row by row."""
        if self._live is None:
            return self._stored[side].distributions(indices)
        with self._as_before() as model:
            return LiveReference(model, rows)

    def states(self, side: Side, rows: PromptRows, indices: list[int]) -> Float[Tensor, "row d_model"]:
        """States of the reference after the steered layer, row by row."""
        if self._live is None:
            stored = self._stored[side].distributions(indices)
            assert isinstance(stored, Tensor)
            return stored.to(rows.tokens.device)
        assert self._config.steering_layer is not None
        with self._as_before() as model:
            return states_before(model, rows, self._config.steering_layer)

    def head(self) -> AbstractContextManager[object]:
        """Context of a backward pass, in which the unembedding of a model that is kept stays gathered.

        The logits of a live reference are asked for as often as there are slices of this rank's rows.
        """
        return nullcontext() if self._live in (None, self._model) else whole_head(self._live)

    def report(self) -> list[dict[str, Any]]:
        """Events for the log: how much of the reference is stored."""
        logged: tuple[Side, Side] = ("forget", "retain")
        n_bytes = sum(self._stored[side].n_bytes for side in logged)
        if not n_bytes:
            return []
        event = {"event": "reference", "step": 0, "bytes": n_bytes, "top_k": self._config.reference_top_k}
        for side in logged:
            event |= {f"{side}_{key}": value for key, value in self._stored[side].tail_mass().items()}
        return [event]

    def report_end(self) -> list[dict[str, Any]]:
        """Events for the log: how exact a shortened reference was at the end."""
        return [] if self._audit is None else [{"event": "reference_audit", **self._audit.at_end(self._model)}]

    @undone
    def _as_before(self) -> Iterator[HookedTransformer]:
        """Yield the model before training: another one, or this one with its adapters switched off."""
        assert self._live is not None
        if self._live is not self._model:
            yield self._live
            return
        for master in self._masters:
            master.reset()
        try:
            yield self._model
        finally:
            for master in self._masters:
                master.push()

    def _take(
        self, reference: HookedTransformer, data: TrainingData, steps: Sequence[TrainStep], progress: bool
    ) -> None:
        """Run the reference once over every prompt that training will compare it on."""
        config, kind = self._config, METHODS[self._config.method].reference
        running: dict[str, Any] = {"batch_size": config.batch_size, "progress": progress}
        everyone = range(len(data.forget))
        if config.adaptive:
            self._stored["forget"] = take_states(reference, data.forget, everyone, config, progress=progress)
        if config.retain_loss == "states" and data.retain is not None:
            seen = {index for step in steps for micro in step.micros for index in micro.retain}
            self._stored["retain"] = take_states(reference, data.retain, seen, config, progress=progress)
        if kind is not None:
            top_k = config.reference_top_k if kind == "distributions" else None
            self._stored["forget"] = take(
                reference, data.forget, everyone, kind=kind, top_k=top_k, everywhere=whole_texts(config), **running
            )
            if top_k is not None:
                self._audit = Audit.of(reference, data.forget, self._stored["forget"], config)
        if kind is not None and data.alternate is not None:
            self._stored["alternate"] = take(reference, data.alternate, everyone, kind="nll", **running)
        if config.retain_loss == "kl" and data.retain is not None:
            # only the retained facts that some step sees, which may be few of many
            seen = {index for step in steps for micro in step.micros for index in micro.retain}
            self._stored["retain"] = take(
                reference, data.retain, seen, kind="distributions", top_k=config.reference_top_k, **running
            )
