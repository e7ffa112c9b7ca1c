"""Activation sweeps."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.pair import ModelPair
from dissect.patching import where as spans
from dissect.patching.activation_controls import RandomDonor, ShuffledDonor, check_controls
from dissect.patching.activation_swap import ActivationSwap
from dissect.patching.heads_and_neurons import check_heads, check_neurons
from dissect.patching.sites import Component, check_components
from dissect.sweep.check_asked import check_asked
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell, Label, Layers, width_of, windows
from dissect.sweep.sweep import Options, sweep
from dissect.sweep.sweep_result import SweepResult

THE_PAPERS = ("mlp_post", "attn_out", ("mlp_post", "attn_out"))
"""Coefficients m, attention states A, and both: the activation curves of Hong et al. (2024)."""


@keywords()
def patch(
    pair: ModelPair,
    prompts: Prompts,
    components: Component | Sequence[Component] = THE_PAPERS,
    *,
    window: int = 5,
    layers: Layers | None = None,
    positions: str | Sequence[int] = "all",
    heads: str | int | Sequence[int | Sequence[int]] | None = None,
    neurons: int | Sequence[int | Sequence[int]] | None = None,
    donor: str = "base",
    recipient: str = "unlearned",
    controls: Sequence[str] | bool = False,
    **options: Any,
) -> SweepResult:
    """Swap activations of ``donor`` into ``recipient``, for every component and centre layer, and measure.

    With the defaults: which activations of the base model, put into the unlearned one, bring the knowledge back
    (Hong et al., EMNLP 2024). Recovery 1 is the donor's behaviour, 0 the recipient's own. With ``donor="unlearned",
    recipient="base"`` it asks the opposite: which activations of the unlearned model make the base model forget; 1 is
    then the unlearned model's behaviour.

    Args:
        components: activation sites (``dissect.patching.sites.SITES``); a tuple of sites is swapped together.
        window: odd number of layers swapped together around each centre; fewer at the ends.
        layers: the centres, all by default; or sets of layers, each swapped together as it is.
        positions: a span of tokens (``all``, ``prompt``, ``answer``, ``predicting``, ``last_prompt``, ``subject``), or
            ``each`` or a list of numbers for a dimension ``position``: one cell for every position, counted from the
            first token of the answer (0; -1 is the last token of the prompt).
        heads: ``each``, or heads or groups of them, for a dimension ``head``; for sites that have heads.
        neurons: neurons or groups of them, for a dimension ``neurons``; for ``mlp_post``.
        donor, recipient: ``base``, ``unlearned`` or ``retain``.
        controls: ``identity``, ``shuffled``, ``retain``, ``random``, ``single``, or ``True`` for all that there can be:
            further components with which the curves are to be compared; see ``dissect.patching.activation_controls``.
        options: fields of ``dissect.sweep.sweep.Options``: ``metrics``, ``scoring``, ``batch_size``, ``out`` (write to
            a file, and go on there after an interruption), ``cache``, ``seed``, ``progress``.

    Returns:
        a result with dimensions (component, layer, [position, head, neurons,] prompt).

    Raises:
        DissectError: something asked for does not exist; before any model runs.
    """
    check_asked(pair, prompts)
    how = Options(**options)
    giver, taker = pair.shapes(donor, recipient)
    checked = check_components(taker, components)
    retrained = pair.retain is not None and "retain" not in (donor, recipient)
    wanted = check_controls(controls, len(prompts), retrained=retrained)
    if wanted and any("pattern" in sites for sites in checked.values()) and "shuffled" in wanted:
        raise DissectError("controls: attention patterns of another prompt have no meaning here: leave 'shuffled' out")
    source = Donor(giver, how.cache)
    donors = {"": source}
    if "identity" in wanted:
        donors["identity"] = Donor(taker, how.cache)
    if "shuffled" in wanted:
        donors["shuffled"] = ShuffledDonor(giver, prompts, seed=how.seed, cache=how.cache)
    if "retain" in wanted:
        donors["retain"] = Donor(pair.shapes("retain", recipient)[0], how.cache)
    if "random" in wanted:
        donors["random"] = RandomDonor(source, seed=how.seed)
    selections = list(_selections(taker, checked, prompts, positions, heads, neurons))
    cells = [
        Cell(_label(label, control), centre, members, ActivationSwap(given, sites, members, **selected), coords)
        for control, given in donors.items()
        for label, sites in checked.items()
        for centre, members in windows(layers, window, taker.cfg.n_layers)
        for coords, selected in selections
    ]
    if "single" in wanted and window > 1:
        cells += [
            Cell(
                _label(label, "single layers"),
                centre,
                members,
                ActivationSwap(source, sites, members, **selected),
                coords,
            )
            for label, sites in checked.items()
            for centre, members in windows(layers, 1, taker.cfg.n_layers)
            for coords, selected in selections
        ]
    spec = {
        "kind": "activations",
        "window": width_of(windows(layers, window, taker.cfg.n_layers), window),
        "donor": donor,
        "recipient": recipient,
        "positions": positions if isinstance(positions, str) else list(positions),
    }
    return sweep(pair, taker, source, prompts, cells, how, others=list(donors.values())[1:], spec=spec)


def _label(component: str, control: str) -> str:
    return f"{component} ({control})" if control else component


def _selections(
    model: HookedTransformer,
    components: Mapping[str, tuple[str, ...]],
    prompts: Prompts,
    positions: str | Sequence[int],
    heads: str | int | Sequence[int | Sequence[int]] | None,
    neurons: int | Sequence[int | Sequence[int]] | None,
) -> Iterator[tuple[dict[str, Label], dict[str, Any]]]:
    """Coordinates and arguments of ``ActivationSwap`` for every combination of positions, heads and neurons."""
    axes: list[list[tuple[dict[str, Label], dict[str, Any]]]] = []
    if isinstance(positions, str) and positions != "each":
        spans.check_span(positions, prompts)
        axes.append([({}, {"where": positions})])
    else:
        axes.append([({"position": p}, {"where": p}) for p in spans.single_positions(positions, prompts)])
    if heads is not None:
        axes.append([({"head": label}, {"heads": group}) for label, group in check_heads(model, components, heads)])
    if neurons is not None:
        found = check_neurons(model, components, neurons)
        axes.append([({"neurons": label}, {"neurons": group}) for label, group in found])
    for combination in product(*axes):
        coords: dict[str, Label] = {}
        selected: dict[str, Any] = {}
        for one, other in combination:
            coords |= one
            selected |= other
        yield coords, selected
