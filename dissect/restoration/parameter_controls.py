"""Parameter swaps that carry nothing of what is asked: what a recovery has to be compared with.

- ``identity``: the recipient's own parameters. Recovery is exactly 0, or the engine is wrong.
- ``random``: the same block in as many random layers outside the window: is it these layers, or would any do?
- ``noise``: noise as long as the change, on the same entries: is it what is put in, or that something is?
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
from dissect.sweep.donor import Donor
from dissect.sweep.grid import Windows
from dissect.sweep.sweep import Options

log = logging.getLogger(__name__)

CONTROLS = ("identity", "random", "noise", "retrained")


def check_controls(asked: Sequence[str] | bool, pair: ModelPair, donor: str) -> tuple[str, ...]:
    """The controls asked for; ``True`` stands for all that the pair has models for.

    Raises:
        DissectError: one that does not exist, or ``retrained`` where the pair has no such model or it is the donor.
    """
    third = pair.retrained is not None and donor != "retrained"
    if isinstance(asked, bool):
        asked = [control for control in CONTROLS if control != "retrained" or third] if asked else ()
    chosen = (asked,) if isinstance(asked, str) else tuple(asked)
    for control in chosen:
        if control not in CONTROLS:
            raise DissectError(f"no control {control!r}: choose from {', '.join(CONTROLS)}")
    if "retrained" in chosen and not third:
        raise DissectError(
            "controls: 'retrained' needs a retrained model that is not the donor: give one with "
            "load_pair(..., retrained=...), on the command line --retrained DIR"
        )
    return tuple(dict.fromkeys(chosen))


def without_impossible(
    wanted: tuple[str, ...],
    asked: Sequence[str] | bool,
    components: Sequence[Swapped],
    layer_sets: Windows,
    n_layers: int,
) -> tuple[str, ...]:
    """The controls that the cells leave room for: ``random`` needs as many layers outside of one as it holds.

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
    if asked is not True:
        raise DissectError(f"controls: 'random' {why}")
    log.warning("no control 'random': it %s", why.rpartition(":")[0])
    return tuple(control for control in wanted if control != "random")


def control_donors(
    pair: ModelPair, donor: Donor, recipient: HookedTransformer, wanted: Sequence[str], how: Options
) -> dict[str, Donor]:
    """By control, where the activations of mixed cells come from."""
    found: dict[str, Donor] = {}
    if "identity" in wanted:
        found["identity"] = Donor(recipient, how.cache)
    if "noise" in wanted:
        found["noise"] = RandomDonor(donor, seed=how.seed)
    if "retrained" in wanted:
        found["retrained"] = Donor(pair.shapes("retrained", "base")[0], how.cache)
    return found
