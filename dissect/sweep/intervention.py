"""What can be applied to a model and undone exactly."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from transformer_lens import HookedTransformer

from dissect.sweep.batch import Batch


class Intervention(ABC):
    """A change to a model's forward pass: the runner knows nothing else of activations or parameters."""

    @property
    @abstractmethod
    def first_layer(self) -> int:
        """The first layer whose computation changes: everything before it need not be run again.

        -1 where the embedding changes, ``n_layers`` where only the final norm or the unembedding does.
        """

    @abstractmethod
    def applied(self, model: HookedTransformer, batch: Batch) -> AbstractContextManager[None]:
        """In the body ``model`` runs changed; after it, and after any exception in it, it is exactly as before."""


@dataclass(frozen=True)
class Joint(Intervention):
    """Several interventions at once."""

    parts: tuple[Intervention, ...]

    @property
    def first_layer(self) -> int:
        """The first layer that any part touches."""
        return min(part.first_layer for part in self.parts)

    @contextmanager
    def applied(self, model: HookedTransformer, batch: Batch) -> Iterator[None]:
        """Apply all parts; undo them in reverse order."""
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.applied(model, batch))
            yield
