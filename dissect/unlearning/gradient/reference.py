"""Outputs of the model before training: taken once, so that the model itself need not be kept.

NPO and DPO need one number a text; UnDIAL and KL the distribution at each scored position, whole or as its k most
likely tokens and the mass of the others. Where data changes from step to step the model itself is kept instead.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.undoing.gradient_mode import without_gradients
from dissect.unlearning.gradient.backward import chunks, logits_of, residual_rows
from dissect.unlearning.gradient.prompt_rows import PromptRows, rows_of
from dissect.unlearning.gradient.shelf import Shelf
from dissect.unlearning.losses.flat_rows import nll_rows
from dissect.unlearning.losses.top_k import TopK
from dissect.unlearning.method_record import Needs

Distributions = Tensor | TopK
"""Logits (row, d_vocab), or the most likely tokens of each row."""


@dataclass
class StoredReference:
    """Outputs of a model for some prompts, by their index."""

    nll: dict[int, float] = field(default_factory=dict)
    """Sum of -log p over the scored tokens of a text, in nats."""
    rows: Shelf = field(default_factory=Shelf)
    """Distributions at the scored positions of a text."""

    def sequence_nll(self, indices: Sequence[int]) -> Float[Tensor, " batch"]:
        """NLL of each text of a micro-batch, in float64."""
        return torch.tensor([self.nll[index] for index in indices], dtype=torch.float64)

    def distributions(self, indices: Sequence[int]) -> Distributions:
        """Distributions of the rows of a micro-batch."""
        return join([self.rows[index] for index in indices])

    def tail_mass(self) -> dict[str, float]:
        """The probability that the kept tokens leave out, over all positions; nothing where whole rows are kept."""
        tails = [each.log_tail.exp() for each in self.rows.values() if isinstance(each, TopK)]
        if not tails:
            return {}
        return {"tail_mass_mean": float(torch.cat(tails).mean()), "tail_mass_max": float(torch.cat(tails).max())}

    @property
    def n_bytes(self) -> int:
        """Bytes of the distributions, in memory and on disk."""
        return self.rows.n_bytes


@without_gradients()
def take(
    model: HookedTransformer,
    prompts: Prompts,
    indices: Iterable[int],
    *,
    kind: Needs,
    top_k: int | None = None,
    everywhere: bool = False,
    batch_size: int = 8,
    progress: bool = False,
) -> StoredReference:
    """Run ``model`` over the prompts once and keep what an objective will compare with.

    Distributions are kept in the model's own precision, which loses nothing, on the CPU and from some size on in a
    temporary file.

    Args:
        kind: ``nll``, the summed NLL of each text, or ``distributions`` at its scored positions.
        top_k: keep only this many of the most likely tokens of each distribution.
        everywhere: score every token of the texts and not only the answers.
    """
    stored, device = StoredReference(), model.embed.W_E.device
    by_length = sorted(set(indices), key=lambda index: int(prompts.lengths[index]))  # little padding
    batches = [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]
    for batch in tqdm(batches, desc="reference", delay=1.0, disable=not progress):
        rows = rows_of(prompts, batch, everywhere=everywhere).to(device)
        residual = residual_rows(model, rows)
        kept: list[Distributions] = []
        for part in chunks(len(residual), model.cfg.d_vocab_out):
            kept.append(_kept(model, logits_of(model, residual[part]), rows.targets[part], kind, top_k))
        if kind == "nll":
            sums = torch.zeros(len(batch), dtype=torch.float64, device=device)
            sums.index_add_(0, rows.sequence, tensors(join(kept))[0].double())
            stored.nll.update(zip(batch, sums.tolist(), strict=True))
        else:
            whole = join(kept)
            counts = torch.bincount(rows.sequence, minlength=len(batch)).tolist()
            ends = torch.tensor(counts).cumsum(0).tolist()
            for index, count, end in zip(batch, counts, ends, strict=True):
                stored.rows[index] = cut(whole, slice(end - count, end), clone=True)
    return stored


class LiveReference:
    """Distributions of a model that is kept, computed when a slice of rows asks for them."""

    def __init__(self, model: HookedTransformer, rows: PromptRows) -> None:
        self._model = model
        with without_gradients():
            self._residual = residual_rows(model, rows)

    def __getitem__(self, part: slice) -> Float[Tensor, "row d_vocab"]:
        """Compute the logits of the rows ``part``."""
        with without_gradients():
            return logits_of(self._model, self._residual[part])


def join(parts: Sequence[Distributions]) -> Distributions:
    """Put the rows of several distributions of one kind one after the other."""
    columns = [torch.cat(column) for column in zip(*(tensors(part) for part in parts), strict=True)]
    return TopK(*columns) if isinstance(parts[0], TopK) else columns[0]


def cut(distributions: Distributions, part: slice, *, clone: bool = False) -> Distributions:
    """Select some of the rows; with ``clone`` in memory of their own."""
    columns = [column[part].clone() if clone else column[part] for column in tensors(distributions)]
    return TopK(*columns) if isinstance(distributions, TopK) else columns[0]


def tensors(distributions: Distributions) -> tuple[Tensor, ...]:
    """The tensors that distributions consist of, each with an entry a row."""
    if isinstance(distributions, TopK):
        return distributions.ids, distributions.log_probs, distributions.log_tail
    return (distributions,)


def _kept(model: HookedTransformer, logits: Tensor, targets: Tensor, kind: Needs, top_k: int | None) -> Distributions:
    if kind == "nll":
        return nll_rows(logits, targets)
    if top_k is not None:
        most_likely = TopK.of(logits, targets, min(top_k, logits.shape[-1]))
        return TopK(*(column.cpu() for column in tensors(most_likely)))
    return logits.to(model.cfg.dtype).cpu()
