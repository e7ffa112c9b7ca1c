"""What measures need from the rooms that patch and train."""

from dissect.attacks.relearn.relearn import relearn
from dissect.measures.examined import Tools
from dissect.patching.patch import patch


def tools() -> Tools:
    """Handed to every subject: metrics stand below patching and training and cannot import them."""
    return Tools(patch=patch, relearn=relearn)
