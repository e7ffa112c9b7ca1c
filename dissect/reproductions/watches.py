"""What is commonly watched while a model forgets: measures for ``dissect.Watch``."""

from collections.abc import Sequence

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.models.alignment import align
from dissect.models.pair import ModelPair
from dissect.patching.patch import patch
from dissect.reading.answers import reproduced
from dissect.sweep.sweep_result import SweepResult
from dissect.unlearning.run.watch import Measure


def recovery(
    base: HookedTransformer,
    prompts: Prompts,
    components: Sequence[str | tuple[str, ...]] = ("mlp_post", "attn_out"),
    *,
    window: int = 1,
    metric: str = "krs",
) -> Measure:
    """Recovery by layer, activations of ``base`` put into the model as it is."""

    def measure(model: HookedTransformer) -> SweepResult:
        pair = ModelPair(base, model)
        return patch(pair, prompts, components, window=window, metrics=[metric], progress=False)

    return measure


def accuracy(**prompts: Prompts) -> Measure:
    """Share of prompts whose answer is given word by word, under the names of the arguments."""

    def measure(model: HookedTransformer) -> dict[str, float]:
        return {name: float(reproduced(model, each).float().mean()) for name, each in prompts.items()}

    return measure


def weight_drift(base: HookedTransformer) -> Measure:
    """‖W' - W‖ / ‖W‖ of each kind of parameter block, averaged over layers."""

    def measure(model: HookedTransformer) -> dict[str, float]:
        norms = align(base, model).layers["relative_norm"].mean("layer")
        return {str(block): float(norms.sel(block=block)) for block in norms["block"].values}

    return measure
