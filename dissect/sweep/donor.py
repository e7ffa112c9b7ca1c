"""The model that swapped parts come from, run once a batch."""

from collections.abc import Iterable

from jaxtyping import Bool, Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.models.running.forward import check_hook, normed_final, unembedded
from dissect.sweep.batch import Batch
from dissect.sweep.cache import ActivationStore, CacheOptions
from dissect.sweep.trace import trace
from dissect.undoing.gradient_mode import without_gradients

_LOGITS, _READ = "logits", "read"


class Donor:
    """A model whose activations on the sweep's prompts are put into another.

    The pass over the latest batch is kept, and all cells of the sweep share it; ``hold`` runs all batches beforehand,
    after which the model is needed no more. Interventions say beforehand which activations they will want (``want``),
    so nothing else is stored.
    """

    def __init__(self, model: HookedTransformer, cache: CacheOptions | None = None) -> None:
        self.model = model
        self.cache = cache or CacheOptions()
        self.runs = True
        self.fused_attention = True
        """Set by the runner, the same for all passes of a sweep."""
        self._names: set[str] = set()
        self._store: ActivationStore | None = None
        self._index: int | None = None
        self._kept: dict[str, Tensor] = {}
        self._ready: dict[str, Tensor] = {}

    @property
    def names(self) -> frozenset[str]:
        """The hooks whose activations are wanted."""
        return frozenset(self._names)

    def want(self, names: Iterable[str]) -> None:
        """Keep the activations at these hooks from the next batch on.

        Raises:
            DissectError: the donor has no such hook.
        """
        self._names.update(check_hook(self.model, name) for name in names)
        self._index = None

    def hold(self, batches: Iterable[Batch]) -> None:
        """Run all batches now, so that the model can be given back before they are used."""
        self._store = ActivationStore(self.cache)
        for batch in batches:
            self._store.put(batch.index, self._run(batch))

    def release(self) -> None:
        """Give the kept activations back."""
        if self._store is not None:
            self._store.close()
        self._store, self._index, self._kept, self._ready = None, None, {}, {}

    def logits(self, batch: Batch) -> Float[Tensor, "scored d_vocab"]:
        """The donor's logits at the scored positions, in float32."""
        self.turn_to(batch)
        return self._kept[_LOGITS].to(batch.tokens.device)

    def read(self, batch: Batch) -> Float[Tensor, "scored d_model"]:
        """The input of the donor's unembedding at the scored positions: its residual stream, normed."""
        self.turn_to(batch)
        return self._kept[_READ].to(batch.tokens.device)

    def activation(self, batch: Batch, name: str) -> Tensor:
        """Return what replaces the recipient's activation at hook ``name``; one tensor for all cells of a batch."""
        self.turn_to(batch)
        if name not in self._ready:
            self._ready[name] = self._kept[name].to(device=batch.tokens.device, dtype=self.model.cfg.dtype)
        return self._ready[name]

    def valid(self, batch: Batch) -> Bool[Tensor, "batch pos"] | None:
        """The positions at which there is something to put in; None: at all."""
        return None

    def turn_to(self, batch: Batch) -> None:
        """Have the activations of ``batch`` ready, running the model if they are not held; before any hook is set."""
        if self._index != batch.index:
            self._kept, self._ready = {}, {}  # freed before the next ones are made
            self._kept = self._run(batch) if self._store is None else self._store.get(batch.index)
            self._index = batch.index

    @without_gradients()
    def _run(self, batch: Batch) -> dict[str, Tensor]:
        """The logits and the wanted activations of a pass over ``batch``, as they are kept."""
        passed = trace(self.model, batch, sorted(self._names), fused_attention=self.fused_attention)
        kept = {name: self.cache.stored(value) for name, value in passed.activations.items()}
        read = normed_final(self.model, passed.final[batch.scored.to(passed.final.device)])
        logits = unembedded(self.model, read)
        return kept | {_READ: read.to(self.cache.device), _LOGITS: logits.to(self.cache.device)}
