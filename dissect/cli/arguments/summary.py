"""A sweep in a few lines of text."""

from dissect.cli.arguments.aligned import columns
from dissect.sweep.results.peaks import peaks
from dissect.sweep.results.sweep_result import SweepResult


def summary(result: SweepResult, *, seed: int = 0) -> str:
    """Return, for each metric, where the mean recovery of each component is highest."""
    blocks = []
    for metric in result.metrics:
        rows = [(f"recovery of {metric}", "highest mean", "95% interval", "at")]
        for peak in peaks(result.ci(metric, seed=seed)):
            if peak.defined:
                rows.append((peak.component, f"{peak.mean:.3f}", peak.interval, peak.place))
            else:
                rows.append((peak.component, "nothing to recover", "", ""))
        blocks.append(columns(rows))
        recovery = result.recovery(metric)
        undefined = int(recovery.isnull().all([dim for dim in recovery.dims if dim != "prompt"]).sum())
        if undefined:
            blocks.append(f"{undefined} of {recovery.sizes['prompt']} prompts had nothing to recover and are left out")
    return "\n\n".join(blocks)
