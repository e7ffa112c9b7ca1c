"""Memory of ``dissect patch`` with the papers' components: coefficients and attention of all layers."""

import math

from dissect.models.accounting import COLUMNS_AT_ONCE, WIDE
from dissect.models.sizes import Sizes
from dissect.planning.job import Job
from dissect.planning.memory_plan import UNRETURNED, MemoryPlan, largest_gathered, stored_numbers


def sweep_memory(s: Sizes, job: Job, ranks: int) -> MemoryPlan:
    """Count the bytes of one process of a sweep, both models sharded over ``ranks`` of them."""
    item, tokens, scored = job.item, job.tokens(), job.scored()
    logits = 4 * scored * s.d_vocab
    quadratic = not job.gpu and item >= 4 and not s.soft_cap and s.d_vocab >= WIDE * s.d_model
    batches = math.ceil(job.n_facts / job.batch_size) if job.sequential else 1
    models = 1 if job.sequential else 2
    held = {
        "weights": models * stored_numbers(s) * item // ranks,
        "gathered weights": 0 if ranks == 1 else 2 * largest_gathered(s) * item,
        "donor's cache": batches * (s.n_layers * (s.d_mlp + s.d_model) * tokens * item + _read(s, job, logits)),
        # before each layer the stream, in each the attention's output and what its coefficients come to
        "recipient's own": 3 * s.n_layers * s.d_model * tokens * item,
        "rest": 2 * s.buffers + (8 * s.d_model**2 if quadratic else 0) + (0 if job.gpu else UNRETURNED),
    }
    slices = 8 * min(COLUMNS_AT_ONCE, s.d_vocab) * (s.d_model + scored)
    passing = {
        "forward pass": tokens * item * _inside(s, job),
        "reading out": logits + slices if quadratic else (2 if item >= 4 else 3) * logits,
    }
    return MemoryPlan(held, passing)


def _read(s: Sizes, job: Job, logits: int) -> int:
    """Bytes that a donor keeps of a batch at the scored positions."""
    return logits + job.scored() * s.d_model * job.item


def _inside(s: Sizes, job: Job) -> int:
    """Numbers a token at the widest moment of a pass without gradients: three streams, and the inside of a part."""
    attention = 4 * s.n_heads * s.d_head + (0 if s.fused else 2 * s.n_heads * job.length)
    return 3 * s.d_model + max(attention, 2 * s.d_mlp)
