"""Parameter sweeps."""

import os
from collections.abc import Sequence

from dissect.data.prompts import Prompts
from dissect.keywords import keywords
from dissect.metrics.metric import Metric
from dissect.models.pair import ModelPair
from dissect.patching.sites import Component
from dissect.restoration.blocks import check_components
from dissect.restoration.cells import Builder, check_scope
from dissect.restoration.parameter_controls import check_controls, control_donors, without_impossible
from dissect.restoration.parameter_swap import Parameters
from dissect.restoration.scope import scoped
from dissect.restoration.slices import Slices
from dissect.sweep.cache import CacheOptions
from dissect.sweep.check_inputs import check_different, check_inputs
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Group, Layers, width_of
from dissect.sweep.results.sweep_result import SweepResult
from dissect.sweep.sweep import Options, Supply, sweep

THE_PAPERS = ("mlp.W_out",)
"""Value vectors W_V: the parameter curve of Hong et al. (2024)."""


@keywords(renamed={"metric": "metrics", "interpolate": "t", "low_rank": "rank", "components": "blocks"})
def restore(
    pair: ModelPair,
    prompts: Prompts,
    blocks: Component | Sequence[Component] = THE_PAPERS,
    *,
    window: int = 5,
    layers: Layers | None = None,
    scope: str = "windows",
    heads: str | int | Sequence[Group] | None = None,
    neurons: str | int | Sequence[Group] | None = None,
    rank: int | Sequence[int] | None = None,
    t: float | int | Sequence[float | int] | None = None,
    donor: str = "base",
    recipient: str = "unlearned",
    controls: str | Sequence[str] | bool = False,
    metrics: str | Metric | Sequence[str | Metric] = "krs",
    scoring: str = "answer",
    batch_size: int = 32,
    cells_per_pass: int | None = None,
    cache: CacheOptions | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    task: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> SweepResult:
    """Put parameters of ``donor`` into ``recipient``, for every block and centre layer, and measure.

    With the defaults: do the base model's value vectors bring the knowledge back (Hong et al., EMNLP 2024)? Recovery
    1 is the donor's behaviour, 0 the recipient's own. With ``donor="unlearned", recipient="base"`` it asks which of the
    unlearned weights are enough to make the base model forget. The recipient is left as it was, bit for bit.

    Args:
        pair: from ``dissect.load_pair``.
        prompts: from ``Facts.prompts``.
        blocks: parameter blocks (``mlp.W_out``, ``attn``, ``block``, ``unembed``, ...). A tuple is swapped together,
            and may hold activation sites: ``("mlp.W_out", "mlp_post")`` restores value vectors and their coefficients
            in one cell. Blocks outside the layers stand at layer -1 (embeddings) or n_layers.
        window: odd number of layers swapped together around each centre; fewer at the ends.
        layers: the centres, all by default; or sets of layers, each swapped together as it is.
        scope: ``windows``; ``from_last`` and ``from_first``: each layer with all after or before it;
            ``all_but``: everything in the checkpoint but the block in the window, which tells what cannot be missed.
        heads: ``each``, or heads or groups of them, of attention's matrices: a dimension ``head``.
        neurons: ``each``, or neurons or groups of them, of the MLP's matrices: a dimension ``neurons``. Neurons of
            ``mlp.W_out`` are value vectors.
        rank: ranks k: only the first k singular directions of the change are put in; a dimension ``low_rank``.
        t: points between the recipient (0) and the donor (1) to which the weights are interpolated; a dimension ``t``.
        donor, recipient: ``base``, ``unlearned`` or ``retrained``.
        controls: ``identity``, ``random``, ``noise``, ``retrained``, or ``True`` for all that there are models for:
            further components to compare the curves with; see ``dissect.restoration.parameter_controls``.
        metrics, scoring, batch_size, cells_per_pass, cache, out, overwrite, task, seed, progress: as for
            ``dissect.patch``.

    Returns:
        a result with dimensions (component, layer, [head, neurons, low_rank, t,] prompt); the components are the
        blocks.

    Raises:
        DissectError: something asked for does not exist; before any model runs or any weight is touched.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(pair.base)
        >>> dissect.restore(pair, prompts[:4], ["mlp.W_out", "attn"], window=3)
        SweepResult(component 2, layer ..., prompt 4; components mlp.W_out, attn; metrics krs)
        >>> ranks = dissect.restore(pair, prompts[:4], ["mlp"], layers=[0], rank=[1, 4])
        >>> ranks.recovery("krs").dims
        ('component', 'layer', 'low_rank', 'prompt')
    """
    check_inputs(pair, prompts)
    check_different(pair, donor, recipient, kept=out is not None)
    options = Options(
        metrics=metrics,
        scoring=scoring,
        batch_size=batch_size,
        cells_per_pass=cells_per_pass,
        cache=cache or CacheOptions(),
        out=out,
        overwrite=overwrite,
        task=task,
        seed=seed,
        progress=progress,
    )
    donor_model, recipient_model = pair.shapes(donor, recipient)
    n_layers = recipient_model.cfg.n_layers
    components = check_components(recipient_model, blocks)
    layer_sets = scoped(layers, window, n_layers, scope)
    cut = Slices(heads=heads, neurons=neurons, rank=rank, t=t)
    check_scope(components, scope, cut.any, layer_sets)
    wanted = without_impossible(check_controls(controls, pair, donor), controls, components, layer_sets, n_layers)

    # By control, where parameters come from, and in mixed cells activations; the curves themselves under "".
    parameters, activations = {"": Parameters(donor_model)}, {"": Donor(donor_model, options.cache)}
    if "retrained" in wanted:
        parameters["retrained"] = Parameters(pair.shapes("retrained", recipient)[0])
    mixed = any(component.sites for component in components)
    if mixed:
        activations |= control_donors(pair, activations[""], recipient_model, wanted, options)

    cells = list(
        Builder(recipient_model, activations, parameters, scope, seed).cells(components, layer_sets, cut, wanted)
    )
    spec = {
        "kind": "parameters and activations" if mixed else "parameters",
        "window": width_of(layer_sets, window) if scope in ("windows", "all_but") else None,
        "scope": scope,
        "donor": donor,
        "recipient": recipient,
    }
    others: list[Supply] = [*list(activations.values())[1:], *parameters.values()]
    return sweep(pair, recipient_model, activations[""], prompts, cells, options, others=others, spec=spec)
