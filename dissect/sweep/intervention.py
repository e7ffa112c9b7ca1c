"""Interventions: changes that are applied to a model and undone exactly."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.sweep.batch import Batch
from dissect.undoing.change import Change, together


class Intervention(ABC):
    """A change to a model's forward pass: the runner knows nothing else of activations or parameters.

    Only ``first_layer`` and ``applied`` must be given. The other members tell the runner what it may leave out; their
    defaults leave out nothing.
    """

    @property
    @abstractmethod
    def first_layer(self) -> int:
        """The first layer whose computation changes: everything before it need not be run again.

        -1 where the embedding changes, ``n_layers`` where only the final norm or the unembedding does.
        """

    @abstractmethod
    def applied(self, model: HookedTransformer, batch: Batch) -> AbstractContextManager[None]:
        """In the body ``model`` runs changed; after it, and after any exception in it, it is exactly as before."""

    @property
    def kept(self) -> tuple[str, ...]:
        """Hooks of the first layer whose activation stays the recipient's own although the layer is touched."""
        return ()

    @property
    def changes_weights(self) -> bool:
        """True if parameters are swapped, so that products of activations and weights are this cell's own."""
        return False

    @property
    def needs_patterns(self) -> bool:
        """True if scores or patterns are hooked, so that attention has to be computed in the open."""
        return False

    def prepare(self, batch: Batch) -> None:  # noqa: B027 - nothing to prepare is the usual case
        """Run whatever has to run before anything is applied, such as the donor, which may be the recipient itself."""

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """Whole activations, by hook name, that take the place of the recipient's own."""
        return {}

    def defined(self, batch: Batch) -> Bool[Tensor, " batch"] | None:
        """Mask of the prompts for which the intervention means anything; None: all."""
        return None


@dataclass(frozen=True)
class Joint(Intervention):
    """Several interventions at once, for instance value vectors together with coefficients."""

    parts: tuple[Intervention, ...]

    @property
    def first_layer(self) -> int:
        """The first layer that any part touches."""
        return min(part.first_layer for part in self.parts)

    @property
    def kept(self) -> tuple[str, ...]:
        """Hooks that every part that begins at the first layer leaves alone."""
        first = [part for part in self.parts if part.first_layer == self.first_layer]
        return tuple(name for name in first[0].kept if all(name in part.kept for part in first))

    @property
    def changes_weights(self) -> bool:
        """True if any part does."""
        return any(part.changes_weights for part in self.parts)

    @property
    def needs_patterns(self) -> bool:
        """True if any part does."""
        return any(part.needs_patterns for part in self.parts)

    def prepare(self, batch: Batch) -> None:
        """Have every part prepare."""
        for part in self.parts:
            part.prepare(batch)

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """Return the activations that all parts give."""
        return {name: value for part in self.parts for name, value in part.given(batch).items()}

    def defined(self, batch: Batch) -> Bool[Tensor, " batch"] | None:
        """Mask of the prompts for which all parts are defined."""
        masks = [mask for part in self.parts if (mask := part.defined(batch)) is not None]
        if not masks:
            return None
        together = masks[0]
        for mask in masks[1:]:
            together = together & mask
        return together

    def applied(self, model: HookedTransformer, batch: Batch) -> Change[None]:
        """Apply all parts; undo them in reverse order."""
        return together(part.applied(model, batch) for part in self.parts)
