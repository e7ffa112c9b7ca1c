"""Peak memory of a run."""

import resource
import sys

import torch


def peak_memory(device: torch.device) -> float:
    """Peak memory so far, in MB: of the GPU where the model is on one, otherwise of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts bytes
