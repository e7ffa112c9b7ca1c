"""Random state for the time of a block: libraries that know no generators draw from the global one."""

import torch

from dissect.undoing.change import Change


def seeded(seed: int) -> Change[None]:
    """Torch's global random numbers on the CPU begin at ``seed`` in the body; afterwards the caller's go on."""
    before = torch.get_rng_state()
    return Change(None, lambda: torch.random.default_generator.manual_seed(seed), lambda: torch.set_rng_state(before))
