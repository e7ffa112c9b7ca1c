"""Activation sweeps."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.metrics.metric import Metric
from dissect.models.pair import ModelPair
from dissect.patching import where
from dissect.patching.activation_controls import RandomDonor, ShuffledDonor, check_controls
from dissect.patching.activation_swap import ActivationSwap
from dissect.patching.heads_and_neurons import check_heads, check_neurons
from dissect.patching.sites import Component, check_components
from dissect.sweep.cache import CacheOptions
from dissect.sweep.check_inputs import check_different, check_inputs
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Cell, Group, Label, Layers, width_of, windows
from dissect.sweep.results.sweep_result import SweepResult
from dissect.sweep.sweep import Options, sweep

THE_PAPERS = ("mlp_post", "attn_out", ("mlp_post", "attn_out"))
"""Coefficients m, attention states A, and both: the activation curves of Hong et al. (2024)."""

_Selection = tuple[dict[str, Label], dict[str, Any]]
"""Coordinates in the result, and the arguments of ``ActivationSwap`` that select what they name."""


@keywords(renamed={"metric": "metrics"})
def patch(
    pair: ModelPair,
    prompts: Prompts,
    components: Component | Sequence[Component] = THE_PAPERS,
    *,
    window: int = 5,
    layers: Layers | None = None,
    positions: str | Sequence[int] = "all",
    heads: str | int | Sequence[Group] | None = None,
    neurons: int | Sequence[Group] | None = None,
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
    """Swap activations of ``donor`` into ``recipient``, for every component and centre layer, and measure.

    With the defaults: which activations of the base model, put into the unlearned one, bring the knowledge back
    (Hong et al., EMNLP 2024). Recovery 1 is the donor's behaviour, 0 the recipient's own. With ``donor="unlearned",
    recipient="base"`` it asks the opposite: which activations of the unlearned model make the base model forget; 1 is
    then the unlearned model's behaviour.

    Args:
        pair: from ``dissect.load_pair``.
        prompts: from ``Facts.prompts``.
        components: activation sites (``dissect.patching.sites.SITES``); a tuple of sites is swapped together.
        window: odd number of layers swapped together around each centre; fewer at the ends.
        layers: the centres, all by default; or sets of layers, each swapped together as it is.
        positions: a span of tokens (``all``, ``prompt``, ``answer``, ``predicting``, ``last_prompt``, ``subject``), or
            ``each`` or a list of numbers for a dimension ``position``: one cell for every position, counted from the
            first token of the answer (0; -1 is the last token of the prompt).
        heads: ``each``, or heads or groups of them, for a dimension ``head``; for sites that have heads.
        neurons: neurons or groups of them, for a dimension ``neurons``; for ``mlp_post``.
        donor, recipient: ``base``, ``unlearned`` or ``retrained``.
        controls: ``identity``, ``shuffled``, ``retrained``, ``random``, ``single``, or ``True`` for all that there can
            be: further components to compare the curves with; see ``dissect.patching.activation_controls``.
        metrics: one or more names of ``dissect.metrics``, or metrics of your own.
        scoring: positions that are scored: ``answer`` (those that predict the answer) or ``published`` (the papers'
            window); see ``dissect.sweep.batch.SCORINGS``.
        batch_size: prompts in one forward pass.
        cells_per_pass: cells of whole activations that run as rows of one batch. By default one on a CPU, and on a GPU
            as many as fill it; more than one changes the last bits.
        cache: where the donor's activations wait, and in which dtype; by default on the device, as they are.
        out: write the result to this netCDF file. An interrupted sweep resumes when it is called again with the same
            arguments; its finished cells are in ``<out>.partial`` until then. Under ``torchrun`` the ranks share the
            cells.
        overwrite: replace ``out`` if it exists.
        task: ``"3/8"`` computes the third of eight parts and nothing else, as one task of a job array; needs ``out``.
            The task that comes last writes the result, the others raise ``dissect.jobs.journals.Unfinished``.
        seed: random seed of the controls; stored with the result.
        progress: show a progress bar.

    Returns:
        a result with dimensions (component, layer, [position, head, neurons,] prompt).

    Raises:
        DissectError: something asked for does not exist; before any model runs.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(pair.base)
        >>> result = dissect.patch(pair, prompts[:4], ["mlp_post", "attn_out"], window=3)
        >>> result
        SweepResult(component 2, layer ..., prompt 4; components mlp_post, attn_out; metrics krs)
        >>> result.recovery("krs").mean("prompt").dims
        ('component', 'layer')
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
    sites_of = check_components(recipient_model, components)
    retrained = pair.retrained is not None and "retrained" not in (donor, recipient)
    wanted = check_controls(controls, len(prompts), retrained=retrained)
    if "shuffled" in wanted and any("pattern" in sites for sites in sites_of.values()):
        raise DissectError("controls: attention patterns of another prompt have no meaning here: leave 'shuffled' out")

    # One donor for the curves themselves, under "", and one for each control that takes activations from elsewhere.
    main = Donor(donor_model, options.cache)
    donors = {"": main}
    if "identity" in wanted:
        donors["identity"] = Donor(recipient_model, options.cache)
    if "shuffled" in wanted:
        donors["shuffled"] = ShuffledDonor(donor_model, prompts, seed=seed, cache=options.cache)
    if "retrained" in wanted:
        donors["retrained"] = Donor(pair.shapes("retrained", recipient)[0], options.cache)
    if "random" in wanted:
        donors["random"] = RandomDonor(main, seed=seed)

    # Every curve: the donors with the window asked for, and where it is asked for the main one with single layers.
    layer_sets = windows(layers, window, recipient_model.cfg.n_layers)
    curves = [(name, source, layer_sets) for name, source in donors.items()]
    if "single" in wanted and window > 1:
        curves.append(("single layers", main, windows(layers, 1, recipient_model.cfg.n_layers)))
    selections = list(_selections(recipient_model, sites_of, prompts, positions, heads, neurons))
    cells = [
        Cell(
            f"{component} ({control})" if control else component,
            centre,
            members,
            coords,
            intervention=ActivationSwap(source, sites, members, **selected),
        )
        for control, source, centres in curves
        for component, sites in sites_of.items()
        for centre, members in centres
        for coords, selected in selections
    ]
    spec = {
        "kind": "activations",
        "window": width_of(layer_sets, window),
        "donor": donor,
        "recipient": recipient,
        "positions": positions if isinstance(positions, str) else list(positions),
    }
    return sweep(pair, recipient_model, main, prompts, cells, options, others=list(donors.values())[1:], spec=spec)


def _selections(
    model: HookedTransformer,
    components: Mapping[str, tuple[str, ...]],
    prompts: Prompts,
    positions: str | Sequence[int],
    heads: str | int | Sequence[Group] | None,
    neurons: int | Sequence[Group] | None,
) -> Iterator[_Selection]:
    """Every combination of the positions, heads and neurons asked for."""
    axes: list[list[_Selection]] = []
    if isinstance(positions, str) and positions != "each":
        where.check_span(positions, prompts)
        axes.append([({}, {"where": positions})])
    else:
        axes.append([({"position": p}, {"where": p}) for p in where.single_positions(positions, prompts)])
    if heads is not None:
        axes.append([({"head": label}, {"heads": group}) for label, group in check_heads(model, components, heads)])
    if neurons is not None:
        groups = check_neurons(model, components, neurons)
        axes.append([({"neurons": label}, {"neurons": group}) for label, group in groups])
    for combination in product(*axes):
        coords: dict[str, Label] = {}
        selected: dict[str, Any] = {}
        for own_coords, own_selected in combination:
            coords |= own_coords
            selected |= own_selected
        yield coords, selected
