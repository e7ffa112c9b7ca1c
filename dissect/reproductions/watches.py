"""Common probes for ``dissect.Watch``, to follow a model while it forgets."""

from collections.abc import Sequence

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.models.alignment import align
from dissect.models.pair import ModelPair
from dissect.patching.patch import patch
from dissect.reading.answers import reproduced
from dissect.sweep.results.sweep_result import SweepResult
from dissect.unlearning.run.watch import Probe


def recovery(
    base: HookedTransformer,
    prompts: Prompts,
    components: Sequence[str | tuple[str, ...]] = ("mlp_post", "attn_out"),
    *,
    window: int = 1,
    metric: str = "krs",
) -> Probe:
    """Recovery by layer, activations of ``base`` put into the model as it is."""

    def probe(model: HookedTransformer) -> SweepResult:
        pair = ModelPair(base, model)
        return patch(pair, prompts, components, window=window, metrics=[metric], progress=False)

    return probe


def accuracy(**prompts: Prompts) -> Probe:
    """Share of prompts whose answer is given word by word, under the names of the arguments."""

    def probe(model: HookedTransformer) -> dict[str, float]:
        return {name: float(reproduced(model, each).float().mean()) for name, each in prompts.items()}

    return probe


def weight_drift(base: HookedTransformer) -> Probe:
    """‖W' - W‖ / ‖W‖ of each kind of parameter block, averaged over layers."""

    def probe(model: HookedTransformer) -> dict[str, float]:
        norms = align(base, model).layers["relative_norm"].mean("layer")
        return {str(block): float(norms.sel(block=block)) for block in norms["block"].values}

    return probe
