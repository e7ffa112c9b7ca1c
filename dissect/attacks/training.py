"""Training a copy of the model under attack, for attacks that train."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.attacks.attack import NotPossible, Target
from dissect.attacks.training_budget import BATCH_SIZE
from dissect.data.fact import Fact
from dissect.errors import DissectError
from dissect.models.changing.exchange import exchanged
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.parameters.trainable import trained_names
from dissect.unlearning.run.prepare import prepare
from dissect.unlearning.run.trainer import Record, Trainer

T = TypeVar("T")


def trained(
    target: Target,
    facts: Sequence[Fact],
    read: Callable[[], T],
    *,
    steps: int,
    lr: float,
    lora_rank: int = 0,
    label: str,
) -> T:
    """Train on the answers of ``facts`` by gradient descent, call ``read``, and put every weight back, to the bit.

    Args:
        facts: none of them tested.
        read: what is wanted of the trained model, which is ``target.model`` itself while it runs.
        steps: steps of AdamW with batches of `BATCH_SIZE` facts; the learning rate falls linearly to 0.
        lr: peak learning rate.
        lora_rank: rank of adapters on queries and values that train in place of everything; 0 trains everything.
        label: for the progress bar, and to tell the weights apart.

    Raises:
        NotPossible: the loss is no longer finite, or a setting does not fit the model.
    """
    try:
        epochs = math.ceil(steps / math.ceil(len(facts) / BATCH_SIZE))
        config = TrainConfig(
            method="learn",
            lr=lr,
            epochs=epochs,
            max_steps=steps,
            batch_size=BATCH_SIZE,
            schedule="linear",
            lora_rank=lora_rank,
            seed=target.seed,
        )
        ready = prepare(target.model, target.asking.prompts(facts, target.model), config)
        with (
            tqdm(total=steps, desc=label, unit="step", leave=False, disable=not target.progress) as bar,
            exchanged(target.model, _copies(target.model, config), f"{label} {config.to_dict()}"),
        ):

            def step(model: HookedTransformer, record: Record) -> None:
                bar.update(int(record["step"] > 0))

            Trainer(target.model, ready.data, ready.config, callbacks=[step]).run(progress=False)
            return read()
    except NotPossible:
        raise
    except DissectError as error:
        raise NotPossible(f"it cannot be trained: {error}") from error


def _copies(model: HookedTransformer, config: TrainConfig) -> Iterator[tuple[str, Shaped[Tensor, "..."]]]:
    """The parameters that training writes into, as copies."""
    for name in trained_names(model, config):
        yield name, model.get_parameter(name).data.clone(memory_format=torch.preserve_format)


def drawn(facts: Sequence[Fact], count: int, generator: np.random.Generator) -> list[Fact]:
    """``count`` of the facts at random, or all of them in random order where there are fewer."""
    return [facts[i] for i in generator.permutation(len(facts))[:count]]
