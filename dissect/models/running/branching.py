"""Log-probabilities of several continuations of one text, which is read once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.models.running.kv_cache import Decoder
from dissect.models.running.packed import Where
from dissect.undoing.gradient_mode import without_gradients


class BranchingDecoder(Decoder):
    """A decoder whose rows can go on in several ways, each with a copy of what was read."""

    def read(self) -> Float[Tensor, "token d_model"]:
        """Read all prompts; the residual stream after the last block, row behind row."""
        where = Where(self.lengths, self._cache, first=True)
        return self._run(torch.cat(list(self._prompts)).to(self._device), where)

    def logits(self, residual: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_vocab"]:
        """Logits of some of the tokens that were read."""
        return self._logits(residual)

    def branch(self, rows: Sequence[int], longest: int) -> "BranchingDecoder":
        """A decoder of these rows, each as often as it is named, with room for ``longest`` tokens more."""
        other = BranchingDecoder.__new__(BranchingDecoder)
        other.__dict__.update(self.__dict__)
        other.lengths = [self.lengths[row] for row in rows]
        cache = self._cache[:, :, torch.tensor(rows, device=self._device)]
        lacking = max(other.lengths) + longest - cache.shape[-2]
        other._cache = torch.nn.functional.pad(cache, (0, 0, 0, lacking)) if lacking > 0 else cache
        return other


@without_gradients()
def branched_logprobs(
    model: HookedTransformer, texts: Sequence[Sequence[Sequence[int]]], starts: Sequence[Sequence[int]], batch_size: int
) -> list[list[float]]:
    """log p of the end of each text, from its ``start`` on, given what stands before; texts of one list share a prefix.

    The longest common prefix of a list is run once, and its texts go on from there side by side. What comes out is
    what whole passes give, up to the rounding of products of another size.

    Args:
        model: one for which ``can_decode`` is true.
        texts: token ids, list by list.
        starts: the first token of each text that is scored, at least 1.
        batch_size: lists read together, and texts continued together.

    Returns:
        Sums over the scored tokens, in nats: float64 sums of float32 logarithms.
    """
    sums = [[0.0] * len(branches) for branches in texts]
    order = sorted(range(len(texts)), key=lambda number: -len(texts[number][0]))  # the longest first: most memory
    for first in range(0, len(order), batch_size):
        numbers = order[first : first + batch_size]
        shared = [_common(texts[number]) for number in numbers]
        prefixes = [torch.tensor(texts[number][0][:n]) for number, n in zip(numbers, shared, strict=True)]
        decoder = BranchingDecoder(model, prefixes, max_new_tokens=1)
        residual = decoder.read()
        ends = torch.tensor(shared).cumsum(0).tolist()
        # what all texts of a list have in common may reach into what is scored
        for index, (number, n, end) in enumerate(zip(numbers, shared, ends, strict=True)):
            begin = min(starts[number])
            if begin < n:
                logs = decoder.logits(residual[end - n + begin - 1 : end - 1]).log_softmax(-1)
                targets = prefixes[index][begin:].to(logs.device)
                own = logs.gather(-1, targets[:, None])[:, 0].double().cpu()
                for branch, start in enumerate(starts[number]):
                    sums[number][branch] += float(own[start - begin :].sum()) if start < n else 0.0
        # (list, branch) of every text that goes on after the prefix
        going = [
            (index, branch)
            for index, (number, n) in enumerate(zip(numbers, shared, strict=True))
            for branch, text in enumerate(texts[number])
            if len(text) > n
        ]
        last = decoder.logits(residual[torch.tensor(ends, device=residual.device) - 1]).log_softmax(-1)
        for begin in range(0, len(going), batch_size):
            part = going[begin : begin + batch_size]
            rests = [texts[numbers[index]][branch][shared[index] :] for index, branch in part]
            skipped = [max(0, starts[numbers[index]][branch] - shared[index]) for index, branch in part]
            for (index, branch), value in zip(part, _continued(decoder, part, rests, skipped, last), strict=True):
                sums[numbers[index]][branch] += value
    return sums


def _continued(
    decoder: BranchingDecoder,
    part: Sequence[tuple[int, int]],
    rests: Sequence[Sequence[int]],
    skipped: Sequence[int],
    last: Float[Tensor, "list d_vocab"],
) -> list[float]:
    """log p of the rest of each text; the first ``skipped`` tokens of it are read and not scored."""
    sums = [0.0] * len(part)
    logs = last[torch.tensor([index for index, _ in part], device=last.device)]
    rows = list(range(len(part)))
    branched: BranchingDecoder | None = None
    for step in range(max(map(len, rests))):
        targets = torch.tensor([rests[row][step] for row in rows], device=logs.device)
        own = logs.gather(-1, targets[:, None])[:, 0].double().tolist()
        for row, value in zip(rows, own, strict=True):
            if step >= skipped[row]:
                sums[row] += value
        staying = [index for index, row in enumerate(rows) if len(rests[row]) > step + 1]
        if not staying:
            break
        if branched is None:
            rows = [rows[index] for index in staying]
            branched = decoder.branch([part[row][0] for row in rows], max(map(len, rests)))
        elif len(staying) < len(rows):
            rows = [rows[index] for index in branched.keep(staying)]
        logs = branched.step(torch.tensor([rests[row][step] for row in rows], device=logs.device)).log_softmax(-1)
    return sums


def _common(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts begin with."""
    shortest = min(map(len, texts))
    for position in range(shortest):
        if any(text[position] != texts[0][position] for text in texts):
            return position
    return shortest
