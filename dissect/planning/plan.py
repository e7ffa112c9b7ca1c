"""What a job needs of memory, and how many processes it takes: arithmetic on a checkpoint's sizes.

Bytes are counted where the code makes tensors; nothing is measured. The largest moment of a job is the sum of what is
held all the time and the largest of what comes and goes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dissect.errors import DissectError
from dissect.models.sizes import Sizes
from dissect.unlearning.config.choices import CHOICES, COMPARING

ITEM = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
"""Bytes of a number."""
USABLE = 0.85
"""Of a GPU's memory: the rest is for its context, for fragments, and for what the arithmetic misses."""
_SLICE = 1 << 24
"""Logits that training makes at once (``dissect.unlearning.gradient.backward``)."""
_ON_SHELF = 1 << 26
"""Bytes of the reference that stay in memory (``dissect.unlearning.run.shelf``)."""
_COLUMNS = 4096
"""Of the unembedding that are brought to float64 at once (``dissect.sweep.quadratic``)."""
_UNRETURNED = 1 << 26
"""On a CPU: bytes of freed memory that the C library keeps (glibc: twice the largest block that was freed, of at
most 32 MB)."""
_LORA = ("attn.W_Q", "attn.W_V")
"""What adapters are put on by default (``dissect.unlearning.parameters.trainable``)."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be run. The defaults are those of ``dissect patch`` and ``dissect unlearn``."""

    train: bool = False
    """Unlearning; else an activation sweep of the papers' components between two checkpoints."""
    dtype: str = "float32"
    batch_size: int = 32
    length: int = 128
    """Tokens of a prompt with its answer."""
    answer: int = 32
    """Tokens of the answer: the positions whose logits are read."""
    n_facts: int = 400
    gpu: bool = False
    """Whether it runs on one; a CPU computes some things in another way, and keeps memory that was freed."""

    sequential: bool = False
    """Sweeps: hold one model at a time."""

    method: str = "ga"
    epochs: int = 5
    lora_rank: int = 0
    blocks: Sequence[str] = ()
    """Train these matrices only."""
    bf16_inplace: bool = False
    gradient_checkpointing: bool = False
    reference: str = "stored"
    several: bool = False
    """Whether a step has several backward passes: retained facts, or more than one micro-batch."""

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        for name, known in (("dtype", ITEM), ("method", CHOICES["method"]), ("reference", CHOICES["reference"])):
            if getattr(self, name) not in known:
                raise DissectError(f"{name}={getattr(self, name)!r}: choose from {', '.join(known)}")
        for name in ("batch_size", "length", "answer", "n_facts", "epochs"):
            if getattr(self, name) < 1:
                raise DissectError(f"{name}={getattr(self, name)}: give 1 or more")
        if self.answer >= self.length:
            raise DissectError(f"answer={self.answer}: it is a part of the text, whose length is {self.length}")
        if self.train and self.dtype == "float16":
            raise DissectError("dtype='float16' cannot be trained: use float32 or bfloat16")

    @property
    def item(self) -> int:
        """Bytes of a number of the model."""
        return ITEM[self.dtype]

    def tokens(self, ranks: int = 1) -> int:
        """Tokens of a batch on one rank: texts of a training step are split, those of a sweep are not."""
        return self._texts(ranks) * self.length

    def scored(self, ranks: int = 1) -> int:
        """Positions whose logits one rank reads of a batch."""
        return self._texts(ranks) * self.answer

    def _texts(self, ranks: int) -> int:
        texts = min(self.batch_size, self.n_facts)
        return math.ceil(texts / ranks) if self.train else texts


@dataclass(frozen=True)
class Plan:
    """Bytes that one process needs."""

    held: dict[str, int]
    """All the time."""
    passing: dict[str, int]
    """Moments, of which only one is at a time."""

    @property
    def peak(self) -> int:
        """The most at any time."""
        return sum(self.held.values()) + max(self.passing.values())


def plan(sizes: Sizes, job: Job, *, ranks: int = 1) -> Plan:
    """Memory of one process, the model sharded over ``ranks`` of them.

    Raises:
        DissectError: blocks that the model does not have.
    """
    return _training(sizes, job, ranks) if job.train else _sweep(sizes, job, ranks)


def fitting(sizes: Sizes, job: Job, memory: int, *, most: int = 1024) -> tuple[Job, int] | None:
    """How the job fits into GPUs of ``memory`` bytes: as it is, one model at a time, or sharded over so many; or not.

    Numbers of ranks are powers of two, as machines have them.
    """

    def fits(way: Job, ranks: int) -> bool:
        return plan(sizes, way, ranks=ranks).peak <= USABLE * memory

    ways = [job] if job.train else [job, replace(job, sequential=True)]
    for way in ways:
        if fits(way, 1):
            return way, 1
    ranks = 2
    while ranks <= most:
        if fits(job, ranks):
            return job, ranks
        ranks *= 2
    return None


def n_trained(sizes: Sizes, job: Job) -> int:
    """Numbers of the parameters that are trained, whole or through adapters.

    Raises:
        DissectError: a block that the model does not have.
    """
    blocks = _blocks(job)
    for block in blocks:
        if not sizes.of_block(block):
            raise DissectError(f"blocks={block!r}: {sizes.architecture} has no such matrix")
    return sum(map(sizes.of_block, blocks)) if blocks else sizes.n_parameters


def _sweep(s: Sizes, job: Job, ranks: int) -> Plan:
    """``dissect patch`` with the papers' components: coefficients and attention of all layers."""
    item, tokens, scored = job.item, job.tokens(), job.scored()
    logits = 4 * scored * s.d_vocab
    quadratic = not job.gpu and item >= 4 and not s.soft_cap and s.d_vocab >= 8 * s.d_model
    batches = math.ceil(job.n_facts / job.batch_size) if job.sequential else 1
    models = 1 if job.sequential else 2
    held = {
        "weights": models * _stored(s) * item // ranks,
        "gathered weights": 0 if ranks == 1 else 2 * _unit(s) * item,
        "donor's cache": batches * (s.n_layers * (s.d_mlp + s.d_model) * tokens * item + _read(s, job, logits)),
        # before each layer the stream, in each the attention's output and what its coefficients come to
        "recipient's own": 3 * s.n_layers * s.d_model * tokens * item,
        "rest": 2 * s.buffers + (8 * s.d_model**2 if quadratic else 0) + (0 if job.gpu else _UNRETURNED),
    }
    slices = 8 * min(_COLUMNS, s.d_vocab) * (s.d_model + scored)
    passing = {
        "forward pass": tokens * item * _inside(s, job),
        "reading out": logits + slices if quadratic else (2 if item >= 4 else 3) * logits,
    }
    return Plan(held, passing)


def _training(s: Sizes, job: Job, ranks: int) -> Plan:
    sharded, everything = ranks > 1, not _blocks(job)
    # Sharded parameters are the float32 masters themselves, gathered in the narrow format; else those are copies.
    copies = job.dtype == "bfloat16" and not job.bf16_inplace
    high = 4 if copies or (job.lora_rank and job.item < 4) else job.item
    stored = high if copies and sharded else job.item
    n = n_trained(s, job)
    leaves = sum(_factors(s, block, job.lora_rank) for block in _blocks(job)) if job.lora_rank else n
    masters = high * n if copies and not sharded else 0
    gradients = [n * stored, high * leaves if masters or job.lora_rank else 0]
    held = {
        "weights": _stored(s) * stored // ranks,
        "gathered weights": (2 * _unit(s) + s.n_layer) * job.item if sharded else 0,
        "masters": n * stored // ranks + high * leaves if job.lora_rank else masters // ranks,
        "AdamW's moments": 2 * high * leaves // (1 if job.lora_rank else ranks),  # adapters are the same on all ranks
        "reference": _reference(s, job) // (ranks if job.reference == "live" else 1),
        "rest": s.buffers + (0 if job.gpu else _UNRETURNED),
    }
    layer = job.tokens(ranks) * job.item * _kept(s, job)
    activations = s.n_layers * job.tokens(ranks) * job.item * s.d_model + layer
    if not job.gradient_checkpointing:
        activations = s.n_layers * layer
    logits = 4 * min(_SLICE, job.scored(ranks) * s.d_vocab)
    outside = stored * s.n_outside // ranks if everything else 0  # the unembedding's gradient is the first
    tied = job.item * s.d_vocab * s.d_model if s.tied and everything else 0  # and comes again as the embedding's
    passing = {
        "forward and loss": activations + logits * (5 if job.method in ("undial", "ceu") else 3) + outside,
        # On a CPU gradients find no room where activations were: what is freed lies in pieces.
        "backward": (sum if job.several else max)(gradients) // ranks + (layer if job.gpu else activations) + tied,
    }
    return Plan(held, passing)


def _stored(s: Sizes) -> int:
    return s.n_parameters + s.constants


def _unit(s: Sizes) -> int:
    """Numbers in the largest part of a sharded model that is gathered at once: a layer, or the unembedding.

    It is in memory twice: as it was sent, and put together or in the order that a product wants.
    """
    return max(s.n_layer, s.d_vocab * s.d_model)


def _blocks(job: Job) -> Sequence[str]:
    return job.blocks or (_LORA if job.lora_rank else ())


def _read(s: Sizes, job: Job, logits: int) -> int:
    """What a donor keeps of a batch at the scored positions."""
    return logits + job.scored() * s.d_model * job.item


def _inside(s: Sizes, job: Job) -> int:
    """Numbers a token at the widest moment of a pass without gradients: three streams, and what is inside of a part."""
    attention = 4 * s.n_heads * s.d_head + (0 if s.fused else 2 * s.n_heads * job.length)
    return 3 * s.d_model + max(attention, 2 * s.d_mlp)


def _kept(s: Sizes, job: Job) -> int:
    """Numbers a token that a layer keeps for the backward pass.

    Of attention queries, keys, values (one a head) and what they come to; of a norm what it gives, and of an RMS norm
    what it scales; of a gated MLP the gate before and after its function, the other half and their product.
    """
    attention = 4 * s.n_heads * s.d_head + (0 if s.fused else 3 * s.n_heads * job.length)
    norms = 2 * (2 if s.rms else 1) * s.d_model
    streams = (1 if s.parallel else 2) * s.d_model
    mlp = (4 if s.gated else 5 if s.act_fn == "gelu_new" else 2) * s.d_mlp
    return streams + norms + attention + mlp


def _reference(s: Sizes, job: Job) -> int:
    kind = COMPARING.get(job.method)
    if kind is not None and job.reference == "live":
        return 0 if job.lora_rank else _stored(s) * job.item
    return min(_ON_SHELF, job.n_facts * job.answer * s.d_vocab * job.item) if kind == "rows" else 0


def _factors(s: Sizes, block: str, rank: int) -> int:
    """Numbers in the two factors of a matrix's adapter, in all layers."""
    heads, shared = s.n_heads * s.d_head, s.n_key_value_heads * s.d_head
    widths = {"attn.W_Q": heads, "attn.W_K": shared, "attn.W_V": shared, "attn.W_O": heads}
    return s.n_layers * rank * (s.d_model + widths.get(block, s.d_mlp))
