"""What stands where there is no result."""

from dissect.report.results import Results


def absent(results: Results, step: str, what: str) -> str:
    """A sentence on why there is nothing to show, and what would give it."""
    reason = results.missing.get(step, "it was not computed").rstrip(".")
    return f"{what} {'are' if what.endswith('s') else 'is'} missing here: {reason}."
