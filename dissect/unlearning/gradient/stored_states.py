"""Hidden states of the reference, taken once before training."""

from collections.abc import Iterable

import torch
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.reference import StoredReference
from dissect.unlearning.gradient.states import state_rows, states_before


def take_states(
    model: HookedTransformer,
    prompts: Prompts,
    indices: Iterable[int],
    config: TrainConfig,
    *,
    progress: bool = False,
) -> StoredReference:
    """Run ``model`` up to the steered layer over the prompts once, and keep its states in its own precision."""
    stored, size = StoredReference(), config.batch_size
    by_length = sorted(set(indices), key=lambda index: int(prompts.lengths[index]))  # little padding
    batches = [by_length[start : start + size] for start in range(0, len(by_length), size)]
    assert config.steering_layer is not None
    for batch in tqdm(batches, desc="reference", delay=1.0, disable=not progress):
        rows = state_rows(prompts, batch, config)
        states = states_before(model, rows.to(model.embed.W_E.device), config.steering_layer).cpu()  # (row, d_model)
        counts = torch.bincount(rows.sequence, minlength=len(batch)).tolist()
        for index, part in zip(batch, states.split(counts), strict=True):
            stored.rows[index] = part.clone()
    return stored
