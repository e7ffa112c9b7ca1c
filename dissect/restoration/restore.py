"""Parameter sweeps."""

from collections.abc import Sequence
from typing import Any

from dissect.data.prompts import Prompts
from dissect.keywords import keywords
from dissect.models.pair import ModelPair
from dissect.restoration.blocks import Component, check_components
from dissect.restoration.cells import Builder, check_scope
from dissect.restoration.parameter_controls import check_controls, control_donors, without_impossible
from dissect.restoration.parameter_swap import Parameters
from dissect.restoration.scope import places
from dissect.restoration.slices import Slices
from dissect.sweep.check_asked import check_asked
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Group, Layers, width_of
from dissect.sweep.sweep import Options, Source, sweep
from dissect.sweep.sweep_result import SweepResult

THE_PAPERS = ("mlp.W_out",)
"""Value vectors W_V: the parameter curve of Hong et al. (2024)."""


@keywords()
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
    controls: Sequence[str] | bool = False,
    **options: Any,
) -> SweepResult:
    """Put parameters of ``donor`` into ``recipient``, for every block and centre layer, and measure.

    With the defaults: do the base model's value vectors bring the knowledge back (Hong et al., EMNLP 2024)? Recovery
    1 is the donor's behaviour, 0 the recipient's own. With ``donor="unlearned", recipient="base"`` it asks which of the
    unlearned weights are enough to make the base model forget. The recipient is left as it was, bit for bit.

    Args:
        blocks: parameter blocks (``mlp.W_out``, ``attn``, ``block``, ``unembed``, ...). A tuple is swapped together,
            and may hold activation sites: ``("mlp.W_out", "mlp_post")`` restores value vectors and their coefficients
            in one cell. Blocks outside the layers stand at layer -1 (embeddings) or n_layers.
        window: odd number of layers swapped together around each centre; fewer at the ends.
        layers: the centres, all by default; or sets of layers, each swapped together as it is.
        scope: ``windows``; ``from_last`` and ``from_first``: each layer with all after or before it;
            ``all_but``: everything in the checkpoint but the block in the window, which tells what cannot be missed.
        heads: ``each``, or heads or groups of them, of attention's matrices: a dimension ``head``.
        neurons: the same of the MLP's matrices, a dimension ``neurons``: of ``mlp.W_out`` they are value vectors.
        rank: ranks: only the first k singular directions of the change are put in; a dimension ``rank``.
        t: points from 0 (the recipient) to 1 (the donor), between which the weights are interpolated; a dimension
            ``t``.
        donor, recipient: ``base``, ``unlearned`` or ``retain``.
        controls: ``identity``, ``random``, ``noise``, ``retain``, or ``True`` for all that there are models for:
            further components with which the curves are to be compared; see ``dissect.restoration.parameter_controls``.
        options: fields of ``dissect.sweep.sweep.Options``, as for ``dissect.patch``.

    Returns:
        a result with dimensions (component, layer, [head, neurons, rank, t,] prompt); the components are the blocks.

    Raises:
        DissectError: something asked for does not exist; before any model runs or any weight is touched.
    """
    check_asked(pair, prompts)
    giver, taker = pair.shapes(donor, recipient)
    how, components = Options(**options), check_components(taker, blocks)
    chosen = places(layers, window, taker.cfg.n_layers, scope)
    cut = Slices(heads=heads, neurons=neurons, rank=rank, t=t)
    check_scope(components, scope, cut.any, chosen)
    wanted = without_impossible(check_controls(controls, pair, donor), controls, components, chosen, taker.cfg.n_layers)
    mixed = any(component.sites for component in components)
    activations, parameters = {"": Donor(giver, how.cache)}, {"": Parameters(giver)}
    if "retain" in wanted:
        parameters["retain"] = Parameters(pair.shapes("retain", recipient)[0])
    if mixed:
        activations |= control_donors(pair, activations[""], taker, wanted, how)
    builder = Builder(taker, activations, parameters, scope, how.seed)
    cells = list(builder.cells(components, chosen, cut, wanted))
    spec = {
        "kind": "parameters and activations" if mixed else "parameters",
        "window": width_of(chosen, window) if scope in ("windows", "all_but") else None,
        "scope": scope,
        "donor": donor,
        "recipient": recipient,
    }
    others: list[Source] = [*list(activations.values())[1:], *parameters.values()]
    return sweep(pair, taker, activations[""], prompts, cells, how, others=others, spec=spec)
