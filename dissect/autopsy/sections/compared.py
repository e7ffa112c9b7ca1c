"""Section on the checkpoints and facts that were compared."""

from dissect.autopsy.page import Section, Table
from dissect.autopsy.results import Results

_ROLES = (
    ("base", "before unlearning"),
    ("unlearned", "after unlearning"),
    ("retrained", "trained without the forget facts"),
)


def compared(results: Results) -> Section:
    """Paths, fingerprints, sizes, how many facts."""
    about = results.about
    held = about["identity"]["checkpoints"]
    rows = [
        (role, what, held[f"{role}_path"], held.get(f"{role}_fingerprint", "")[:12])
        for role, what in _ROLES
        if f"{role}_path" in held
    ]
    model = about["model"]
    words = (
        f"{model['architecture']}, {model['n_layers']} layers of width {model['d_model']} with {model['n_heads']} "
        f"heads, computed in {model['dtype']}."
    )
    facts = Table(("set", "facts"), list(about["n_facts"].items()))
    checkpoints = Table(("checkpoint", "", "from", "fingerprint"), rows)
    return Section("What was compared", [words, checkpoints, facts])
