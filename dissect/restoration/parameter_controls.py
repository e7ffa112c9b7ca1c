"""Parameter swaps that carry nothing of the answer: what a recovery has to be compared with.

- ``identity``: the recipient's own parameters. Recovery is exactly 0, or the engine is wrong.
- ``random``: the same block in as many random layers outside the window: is it these layers, or would any do?
- ``noise``: noise with the norm of the change, on the same entries: does what is put in matter, or only that
  something is?
- ``retrained``: the blocks of the pair's retrained model.

Where activations go in together with a block, they are controls of the same kind.
"""

import logging
from collections.abc import Sequence

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.pair import ModelPair
from dissect.patching.activation_controls import RandomDonor
from dissect.restoration.blocks import Swapped
from dissect.sweep.control_names import check_control_names
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Windows
from dissect.sweep.sweep import Options

log = logging.getLogger(__name__)

CONTROLS = ("identity", "random", "noise", "retrained")


def check_controls(controls: str | Sequence[str] | bool, pair: ModelPair, donor: str) -> tuple[str, ...]:
    """Return the names of the controls asked for; ``True`` stands for all that the pair has models for.

    Raises:
        DissectError: one that does not exist, or ``retrained`` where the pair has no such model or it is the donor.
    """
    has_third = pair.retrained is not None and donor != "retrained"
    needs_third = (
        "needs a retrained model that is not the donor: give one with load_pair(..., retrained=...), on the command "
        "line --retrained DIR"
    )
    reasons = {"retrained": None if has_third else needs_third}
    return check_control_names(controls, {name: reasons.get(name) for name in CONTROLS})


def without_impossible(
    wanted: tuple[str, ...],
    controls: str | Sequence[str] | bool,
    components: Sequence[Swapped],
    layer_sets: Windows,
    n_layers: int,
) -> tuple[str, ...]:
    """Return the controls that the cells leave room for: ``random`` needs as many layers outside of one as it holds.

    Where all controls were asked for, one that cannot be is left out with a warning.

    Raises:
        DissectError: it was asked for by name.
    """
    if "random" not in wanted:
        return wanted
    if not any(component.in_layers for component in components):
        why = "puts a block into other layers, and these blocks stand outside the layers: leave it out"
    elif all(2 * len(members) > n_layers for _, members in layer_sets):
        fewest = min(len(members) for _, members in layer_sets)
        why = (
            f"needs as many layers outside a cell as in it, and these hold {fewest} or more of {n_layers}: use a "
            "smaller window, or leave it out"
        )
    else:
        return wanted
    if controls is not True:
        raise DissectError(f"controls: 'random' {why}")
    log.warning("no control 'random': it %s", why.rpartition(":")[0])
    return tuple(control for control in wanted if control != "random")


def control_donors(
    pair: ModelPair, donor: Donor, recipient: HookedTransformer, wanted: Sequence[str], options: Options
) -> dict[str, Donor]:
    """Return, by control, the donor of the activations in mixed cells."""
    donors: dict[str, Donor] = {}
    if "identity" in wanted:
        donors["identity"] = Donor(recipient, options.cache)
    if "noise" in wanted:
        donors["noise"] = RandomDonor(donor, seed=options.seed)
    if "retrained" in wanted:
        donors["retrained"] = Donor(pair.shapes("retrained", "base")[0], options.cache)
    return donors
