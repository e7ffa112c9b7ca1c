"""Parameter swaps that carry nothing of what is asked: what a recovery has to be compared with.

- ``identity``: the recipient's own parameters. Recovery is exactly 0, or the engine is wrong.
- ``random``: the same block in as many random layers outside the window: is it these layers, or would any do?
- ``noise``: noise as long as the change, on the same entries: is it what is put in, or that something is?
- ``retain``: the blocks of a third checkpoint, the pair's ``retain`` model.

Where activations go in together with a block, they are controls of the same kind.
"""

from collections.abc import Sequence

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.pair import ModelPair
from dissect.patching.controls import RandomDonor
from dissect.sweep.donor import Donor
from dissect.sweep.sweep import Options

CONTROLS = ("identity", "random", "noise", "retain")


def check_controls(asked: Sequence[str] | bool, pair: ModelPair, donor: str) -> tuple[str, ...]:
    """The controls asked for; ``True`` stands for all that the pair has models for.

    Raises:
        DissectError: one that does not exist, or ``retain`` where the pair has no third checkpoint or it is the donor.
    """
    third = pair.retain is not None and donor != "retain"
    if isinstance(asked, bool):
        asked = [control for control in CONTROLS if control != "retain" or third] if asked else ()
    chosen = (asked,) if isinstance(asked, str) else tuple(asked)
    for control in chosen:
        if control not in CONTROLS:
            raise DissectError(f"no control {control!r}: choose from {', '.join(CONTROLS)}")
    if "retain" in chosen and not third:
        raise DissectError(
            "controls: 'retain' needs a third checkpoint that is not the donor: load_pair(..., retain=...)"
        )
    return tuple(dict.fromkeys(chosen))


def control_donors(
    pair: ModelPair, donor: Donor, recipient: HookedTransformer, wanted: Sequence[str], how: Options
) -> dict[str, Donor]:
    """By control, where the activations of mixed cells come from."""
    found: dict[str, Donor] = {}
    if "identity" in wanted:
        found["identity"] = Donor(recipient, how.cache)
    if "noise" in wanted:
        found["noise"] = RandomDonor(donor, seed=how.seed)
    if "retain" in wanted:
        found["retain"] = Donor(pair.shapes("retain", "base")[0], how.cache)
    return found
