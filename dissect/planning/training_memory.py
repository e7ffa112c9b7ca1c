"""Memory of ``dissect unlearn``."""

from dissect.errors import DissectError
from dissect.models.accounting import REFERENCE_BYTES, TRAINING_LOGITS
from dissect.models.sizes import Sizes
from dissect.planning.job import Job
from dissect.planning.memory_plan import UNRETURNED, MemoryPlan, largest_gathered, stored_numbers


def training_memory(s: Sizes, job: Job, ranks: int) -> MemoryPlan:
    """Count the bytes of one process of a training run, the model sharded over ``ranks`` of them.

    Raises:
        DissectError: blocks that the model does not have.
    """
    sharded, everything = ranks > 1, not job.trained_blocks
    # Sharded parameters are the float32 masters themselves, gathered in the narrow format; else those are copies.
    copies = job.dtype == "bfloat16" and not job.bf16_inplace
    high = 4 if copies or (job.lora_rank and job.item < 4) else job.item
    stored = high if copies and sharded else job.item
    n = n_trained(s, job)
    leaves = sum(_factors(s, block, job.lora_rank) for block in job.trained_blocks) if job.lora_rank else n
    masters = high * n if copies and not sharded else 0
    gradients = [n * stored, high * leaves if masters or job.lora_rank else 0]
    held = {
        "weights": stored_numbers(s) * stored // ranks,
        "gathered weights": (2 * largest_gathered(s) + s.n_layer) * job.item if sharded else 0,
        "masters": n * stored // ranks + high * leaves if job.lora_rank else masters // ranks,
        "AdamW's moments": 2 * high * leaves // (1 if job.lora_rank else ranks),  # adapters are the same on all ranks
        "weights as they were": n * job.item // ranks if job.panel else 0,
        "reference": _reference(s, job) // (ranks if job.reference == "live" else 1),
        "rest": s.buffers + (0 if job.gpu else UNRETURNED),
    }
    layer = job.tokens(ranks) * job.item * kept_for_backward(s, job)
    activations = s.n_layers * job.tokens(ranks) * job.item * s.d_model + layer
    if not job.gradient_checkpointing:
        activations = s.n_layers * layer
    logits = 4 * min(TRAINING_LOGITS, job.scored(ranks) * s.d_vocab)
    outside = stored * s.n_outside // ranks if everything else 0  # the unembedding's gradient is the first
    tied = job.item * s.d_vocab * s.d_model if s.tied and everything else 0  # and comes again as the embedding's
    passing = {
        "forward and loss": activations + logits * job.objective.logit_arrays + outside,
        # On a CPU gradients find no room where activations were: freed memory lies in pieces.
        "backward": (sum if job.several else max)(gradients) // ranks + (layer if job.gpu else activations) + tied,
    }
    return MemoryPlan(held, passing)


def n_trained(sizes: Sizes, job: Job) -> int:
    """Numbers in the parameters that are trained, whole or through adapters.

    Raises:
        DissectError: a block that the model does not have.
    """
    for block in job.trained_blocks:
        if not sizes.of_block(block):
            raise DissectError(f"blocks={block!r}: {sizes.architecture} has no such matrix")
    return sum(map(sizes.of_block, job.trained_blocks)) if job.trained_blocks else sizes.n_parameters


def kept_for_backward(s: Sizes, job: Job) -> int:
    """Numbers a token that a layer keeps for the backward pass.

    Attention keeps queries, keys, values (one a head) and its result; a norm keeps its result, and an RMS norm its
    scaled input as well; a gated MLP keeps the gate before and after its function, the other half and their product.
    """
    attention = 4 * s.n_heads * s.d_head + (0 if s.fused else 3 * s.n_heads * job.length)
    norms = 2 * (2 if s.rms else 1) * s.d_model
    streams = (1 if s.parallel else 2) * s.d_model
    mlp = (4 if s.gated else 5 if s.act_fn == "gelu_new" else 2) * s.d_mlp
    return streams + norms + attention + mlp


def _reference(s: Sizes, job: Job) -> int:
    """Bytes of the reference: of a second model, or of the distributions that stay in memory."""
    needs = job.objective.reference
    if needs is not None and job.reference == "live":
        return 0 if job.lora_rank else stored_numbers(s) * job.item
    return min(REFERENCE_BYTES, job.n_facts * job.answer * s.d_vocab * job.item) if needs == "distributions" else 0


def _factors(s: Sizes, block: str, rank: int) -> int:
    """Numbers in the two factors of a matrix's adapter, in all layers."""
    heads, shared = s.n_heads * s.d_head, s.n_key_value_heads * s.d_head
    widths = {"attn.W_Q": heads, "attn.W_K": shared, "attn.W_V": shared, "attn.W_O": heads}
    return s.n_layers * rank * (s.d_model + widths.get(block, s.d_mlp))
