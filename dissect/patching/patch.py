"""Activation sweeps."""

from collections.abc import Iterable, Sequence

from dissect.data.prompts import Prompts
from dissect.models.pair import ModelPair
from dissect.patching.sites import Component, check_components
from dissect.patching.swap import ActivationSwap
from dissect.sweep.grid import Cell, windows
from dissect.sweep.result import SweepResult
from dissect.sweep.sweep import sweep
from dissect.sweep.trace import Donor

THE_PAPERS = ("mlp_post", "attn_out", ("mlp_post", "attn_out"))
"""Coefficients m, attention states A, and both: the activation curves of Hong et al. (2024)."""


def patch(
    pair: ModelPair,
    prompts: Prompts,
    components: Sequence[Component] = THE_PAPERS,
    *,
    window: int = 5,
    layers: Iterable[int] | None = None,
    donor: str = "base",
    recipient: str = "unlearned",
    metrics: Sequence[str] = ("krs",),
    scoring: str = "answer",
    batch_size: int = 32,
    progress: bool = True,
) -> SweepResult:
    """Swap activations of ``donor`` into ``recipient``, for every component and centre layer, and measure.

    With the defaults: which activations of the base model, put into the unlearned one, bring the knowledge back
    (Hong et al., EMNLP 2024). Recovery 1 is the donor's behaviour, 0 the recipient's own.

    Args:
        components: activation sites (``mlp_post``, ``attn_out``); a tuple of sites is swapped together.
        window: odd number of layers swapped together around each centre; fewer at the ends.
        layers: the centres; all layers by default.
        metrics: names of ``dissect.metrics``; distances are taken to the donor.
        scoring: ``answer`` (positions that predict the answer) or ``published`` (the notebooks' window).
        batch_size: prompts in one forward pass.

    Returns:
        a result with dimensions (component, layer, prompt).

    Raises:
        DissectError: something asked for does not exist; before any model runs.
    """
    giver, taker = pair.roles(donor, recipient)
    source = Donor(giver)
    cells = [
        Cell(label, centre, members, ActivationSwap(source, sites, members))
        for label, sites in check_components(taker, components).items()
        for centre, members in windows(layers, window, taker.cfg.n_layers)
    ]
    spec = {"kind": "activations", "window": window, "donor": donor, "recipient": recipient}
    return sweep(
        taker,
        source,
        prompts,
        cells,
        metrics=metrics,
        scoring=scoring,
        batch_size=batch_size,
        progress=progress,
        spec=spec | pair.provenance(),
    )
