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
    donor_model, recipient_model = pair.shapes(donor, recipient)
    one_metric = metrics_by_name.get(metric)
    _check(one_metric, threshold, beam, max_size)
    candidates = candidates_of(recipient_model, blocks, layers)
    activations, parameters = Donor(donor_model), Parameters(donor_model)
    with held(pair, recipient_model, [activations, parameters], prompts, batch_size=batch_size):
        set_recovery = SetRecovery(recipient_model, activations, parameters, prompts, one_metric, pooled, batch_size)
        with tqdm(total=len(candidates), desc="smallest set", unit="block", disable=not progress) as bar:
            search = _Search(set_recovery, candidates, beam, bar)
            members, recovery = search.grown(threshold, min(max_size or len(candidates), len(candidates)))
            if recovery >= threshold:
                members, recovery = search.pruned(members, recovery, threshold)
        without = set_recovery.recoveries([_without(members, member) for member in members])
        random_sets = in_random_layers(members, candidates, n_random, seed)
        random = set_recovery.recoveries(random_sets)
    spec: dict[str, Any] = {"metric": one_metric.name, "pooled": pooled, "donor": donor, "recipient": recipient}
    spec |= {"beam": beam, "seed": seed, "prompts": prompts.fingerprint(), "n_prompts": len(prompts)}
    return SmallestSet(
        members=[member.part for member in members],
        recovery=recovery,
        threshold=threshold,
        without=without,
        path=search.path,
        random=random,
        n_candidates=len(candidates),
        n_weights=sum(member.n_weights for member in candidates),
        spec=spec | pair.provenance() | prompts.provenance(),
    )


@dataclass
class _Search:
    """The set as it grows and shrinks, with a record of the way."""

    set_recovery: SetRecovery
    candidates: Sequence[Candidate]
    beam: int
    bar: Any

    def __post_init__(self) -> None:
        self.path = [SearchStep("start", None, 0.0, 0, 0, 0)]
        self._n_runs = 0

    def grown(self, threshold: float, most: int) -> tuple[BlockSet, float]:
        """Add blocks until the threshold is reached, or there are ``most``."""
        members: BlockSet = ()
        recovery = 0.0
        while recovery < threshold and len(members) < most:
            best, recovery = self._best_addition(members, recovery)
            members = (*members, best)
            self._record("add", best, members, recovery)
        return members, recovery

    def pruned(self, members: BlockSet, recovery: float, threshold: float) -> tuple[BlockSet, float]:
        """Take out members without which the threshold is still reached, the most dispensable first."""
        while len(members) > 1:
            recoveries = self._run([_without(members, candidate) for candidate in members])
            best = int(np.argmax(recoveries))
            if recoveries[best] < threshold:
                break
            dropped, recovery = members[best], recoveries[best]
            members = _without(members, dropped)
            self._record("remove", dropped, members, recovery)
        return members, recovery

    def _best_addition(self, members: BlockSet, recovery: float) -> tuple[Candidate, float]:
        """The candidate with the highest exact recovery among the most promising; more are tried if none helps."""
        scores = self.set_recovery.scores(members, self.candidates)
        order = sorted(
            (candidate for candidate in self.candidates if candidate not in members),
            key=lambda candidate: -scores[candidate],
        )
        tried: dict[Candidate, float] = {}
        while order and max(tried.values(), default=-np.inf) <= recovery:
            group, order = order[: self.beam], order[self.beam :]
            tried |= dict(zip(group, self._run([(*members, candidate) for candidate in group]), strict=True))
        best = max(tried, key=lambda candidate: tried[candidate])
        return best, tried[best]

    def _run(self, sets: Sequence[BlockSet]) -> list[float]:
        self._n_runs += len(sets)
        return self.set_recovery.recoveries(sets)

    def _record(self, action: str, candidate: Candidate, members: BlockSet, recovery: float) -> None:
        weights = sum(member.n_weights for member in members)
        self.path.append(SearchStep(action, candidate.part, recovery, len(members), weights, self._n_runs))
        self.bar.update(action == "add")
        self.bar.set_postfix(recovery=f"{recovery:.3f}", blocks=len(members))


def _without(members: BlockSet, left_out: Candidate) -> BlockSet:
    return tuple(member for member in members if member is not left_out)


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
