"""The fewest blocks whose restoration brings the behaviour back: a greedy search whose every step is run exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.metrics import metric as metrics_by_name
from dissect.metrics.metric import Metric
from dissect.models.pair import ModelPair
from dissect.restoration.candidates import Candidate, candidates_of, in_random_layers
from dissect.restoration.parameter_swap import Parameters
from dissect.restoration.set_recovery import SetRecovery
from dissect.restoration.smallest_result import SearchStep, SmallestSet
from dissect.sweep.check_inputs import check_inputs
from dissect.sweep.donor import Donor
from dissect.sweep.sweep import held

BlockSet = tuple[Candidate, ...]


@keywords()
def smallest_set(
    pair: ModelPair,
    prompts: Prompts,
    *,
    threshold: float = 0.9,
    blocks: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    donor: str = "base",
    recipient: str = "unlearned",
    metric: str | Metric = "krs",
    pooled: bool = True,
    beam: int = 8,
    max_size: int | None = None,
    n_random: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = True,
) -> SmallestSet:
    """A small set of blocks (layer x block) of the donor with which the recipient recovers to ``threshold``.

    With the defaults: which of the base model's weights, put back, are enough to bring the knowledge back? With
    ``donor="unlearned", recipient="base"``: which of the unlearned weights are enough to make the base model forget?

    Blocks are added one by one: a gradient of the metric at the set so far orders the candidates by what they would
    change to first order, the ``beam`` best are run exactly, and the best of those is added; where none of them helps,
    further ones are run. Once the threshold is reached, members without which it is still reached are taken out, the
    most dispensable first, until every one is needed. So the result reaches the threshold, and no member of it can be
    left out; a smaller set of other blocks may exist, because not all sets are tried.

    Args:
        threshold: recovery to be reached; 1 is the donor's behaviour.
        blocks: candidates of each layer, and blocks outside the layers. By default every matrix, what is left of
            attention and MLP, norms, embeddings and unembedding: everything that a checkpoint holds.
        layers: in which layers; all by default.
        metric: whose recovery it is.
        pooled: of the ratio of sums over prompts; else of the mean of their ratios.
        beam: candidates that are run exactly in each step.
        max_size: give up at so many blocks.
        n_random: so many sets of the same blocks in random layers are run at the end, to compare with.

    Raises:
        DissectError: something asked for does not exist, the metric has no gradient, or the models agree on the
            prompts, so that there is nothing to recover.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(pair.base)
        >>> fewest = dissect.smallest_set(pair, prompts[:4], threshold=0.5, blocks=["attn", "mlp"], n_random=2)
        >>> fewest
        SmallestSet: ... blocks (...), recovery ...
        >>> fewest.reached
        True
    """
    check_inputs(pair, prompts)
    giver, taker = pair.shapes(donor, recipient)
    measured = metrics_by_name.get(metric)
    _check(measured, threshold, beam, max_size)
    everything = candidates_of(taker, blocks, layers)
    source, parameters = Donor(giver), Parameters(giver)
    with held(pair, taker, [source, parameters], prompts, batch_size=batch_size):
        measuring = SetRecovery(taker, source, parameters, prompts, measured, pooled, batch_size)
        with tqdm(total=len(everything), desc="smallest set", unit="block", disable=not progress) as bar:
            search = _Search(measuring, everything, beam, bar)
            chosen, recovery = search.grown(threshold, min(max_size or len(everything), len(everything)))
            if recovery >= threshold:
                chosen, recovery = search.pruned(chosen, recovery, threshold)
        without = measuring.recoveries([_without(chosen, one) for one in chosen])
        others = in_random_layers(chosen, everything, n_random, seed)
        random = measuring.recoveries(others)
    spec: dict[str, Any] = {"metric": measured.name, "pooled": pooled, "donor": donor, "recipient": recipient}
    spec |= {"beam": beam, "seed": seed, "prompts": prompts.fingerprint(), "n_prompts": len(prompts)}
    return SmallestSet(
        members=[one.part for one in chosen],
        recovery=recovery,
        threshold=threshold,
        without=without,
        path=search.path,
        random=random,
        n_candidates=len(everything),
        n_weights=sum(one.n_weights for one in everything),
        spec=spec | pair.provenance(),
    )


@dataclass
class _Search:
    """The set as it grows and shrinks, with a record of the way."""

    measuring: SetRecovery
    everything: Sequence[Candidate]
    beam: int
    bar: Any

    def __post_init__(self) -> None:
        self.path = [SearchStep("start", None, 0.0, 0, 0, 0)]
        self._n_runs = 0

    def grown(self, threshold: float, most: int) -> tuple[BlockSet, float]:
        """Add blocks until the threshold is reached, or there are ``most``."""
        chosen: BlockSet = ()
        recovery = 0.0
        while recovery < threshold and len(chosen) < most:
            best, recovery = self._best_addition(chosen, recovery)
            chosen = (*chosen, best)
            self._record("add", best, chosen, recovery)
        return chosen, recovery

    def pruned(self, chosen: BlockSet, recovery: float, threshold: float) -> tuple[BlockSet, float]:
        """Take out members without which the threshold is still reached, the most dispensable first."""
        while len(chosen) > 1:
            found = self._run([_without(chosen, one) for one in chosen])
            place = int(np.argmax(found))
            if found[place] < threshold:
                break
            gone, recovery = chosen[place], found[place]
            chosen = _without(chosen, gone)
            self._record("remove", gone, chosen, recovery)
        return chosen, recovery

    def _best_addition(self, chosen: BlockSet, recovery: float) -> tuple[Candidate, float]:
        """The candidate with the highest exact recovery among the most promising; more are tried if none helps."""
        scores = self.measuring.scores(chosen, self.everything)
        order = sorted((one for one in self.everything if one not in chosen), key=lambda one: -scores[one])
        tried: dict[Candidate, float] = {}
        while order and max(tried.values(), default=-np.inf) <= recovery:
            group, order = order[: self.beam], order[self.beam :]
            tried |= dict(zip(group, self._run([(*chosen, one) for one in group]), strict=True))
        best = max(tried, key=lambda one: tried[one])
        return best, tried[best]

    def _run(self, sets: Sequence[BlockSet]) -> list[float]:
        self._n_runs += len(sets)
        return self.measuring.recoveries(sets)

    def _record(self, action: str, one: Candidate, chosen: BlockSet, recovery: float) -> None:
        weights = sum(each.n_weights for each in chosen)
        self.path.append(SearchStep(action, one.part, recovery, len(chosen), weights, self._n_runs))
        self.bar.update(action == "add")
        self.bar.set_postfix(recovery=f"{recovery:.3f}", blocks=len(chosen))


def _without(chosen: BlockSet, one: Candidate) -> BlockSet:
    return tuple(each for each in chosen if each is not one)


def _check(metric: Metric, threshold: float, beam: int, max_size: int | None) -> None:
    if not metric.smooth:
        smooth = [name for name in metrics_by_name.available() if metrics_by_name.get(name).smooth]
        raise DissectError(f"metric {metric.name!r} has no gradient to order blocks by: use {', '.join(smooth)}")
    if not 0 < threshold <= 1:
        raise DissectError(f"threshold={threshold}: give a recovery above 0, and at most 1, for instance 0.9")
    limits: Mapping[str, int | None] = {"beam": beam, "max_size": max_size}
    for name, value in limits.items():
        if value is not None and value < 1:
            raise DissectError(f"{name}={value}: give 1 or more")
