"""Memory that a job needs, and how many processes it takes: arithmetic on a checkpoint's sizes.

Bytes are counted where the code makes tensors; nothing is measured. The largest moment of a job is the sum of the
memory that is held all the time and the largest of the moments that pass.
"""

from dataclasses import replace

from dissect.models.sizes import Sizes
from dissect.planning.job import Job
from dissect.planning.memory_plan import MemoryPlan
from dissect.planning.sweep_memory import sweep_memory
from dissect.planning.training_memory import training_memory

USABLE = 0.85
"""Share of a GPU's memory that a plan may fill: the rest is for its context, for fragments, and for what the
arithmetic misses."""
MOST_GPUS = 1024
"""Largest number of GPUs that is tried."""


def plan(sizes: Sizes, job: Job, *, ranks: int = 1) -> MemoryPlan:
    """Count the bytes of one process, the model sharded over ``ranks`` of them.

    Raises:
        DissectError: blocks that the model does not have.
    """
    return (training_memory if job.train else sweep_memory)(sizes, job, ranks)


def fitting(sizes: Sizes, job: Job, memory: int) -> tuple[Job, int] | None:
    """Find out how a job fits into GPUs of ``memory`` bytes.

    Tried in turn: the job as it is, a sweep with one model at a time, the model sharded over 2, 4, 8, ... GPUs.

    Returns:
        the job and its number of ranks, or None where nothing fits.
    """

    def fits(job: Job, ranks: int) -> bool:
        return plan(sizes, job, ranks=ranks).peak <= USABLE * memory

    for single in (job,) if job.train else (job, replace(job, sequential=True)):
        if fits(single, 1):
            return single, 1
    ranks = 2
    while ranks <= MOST_GPUS:
        if fits(job, ranks):
            return job, ranks
        ranks *= 2
    return None
