"""Rows of an embedding and the tokens that they stand for: rows without a token, and rows that only one model has."""

import logging
from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.models.checkpoint import CheckpointInfo, checkpoint_or_none, mark_changed
from dissect.models.parameters import tied
from dissect.models.sharding.sharded import is_sharded
from dissect.undoing.gradient_mode import without_gradients

logger = logging.getLogger(__name__)


def unused_ids(model: HookedTransformer) -> Int[Tensor, " n"]:
    """Ids of the vocabulary that no token of the tokenizer has, ascending; none where there is no tokenizer.

    Vocabularies are padded to round numbers: the rows are there, and an untrained row can win, but says nothing.
    """
    if model.tokenizer is None:
        return torch.empty(0, dtype=torch.int64)
    unused = torch.ones(model.cfg.d_vocab, dtype=torch.bool)
    ids = torch.tensor(sorted({*model.tokenizer.get_vocab().values(), *model.tokenizer.added_tokens_decoder}))
    unused[ids[ids < model.cfg.d_vocab]] = False
    return unused.nonzero().flatten()


def trim_to_fewest(models: Iterable[HookedTransformer]) -> None:
    """Drop the rows of the embeddings that not all models have, in place; the log names them.

    Raises:
        DissectError: a model is sharded.
    """
    models = list(models)
    rows = min(model.cfg.d_vocab for model in models)
    for model in models:
        if model.cfg.d_vocab > rows:
            info, last = checkpoint_or_none(model), model.cfg.d_vocab - 1
            name = info.source if isinstance(info, CheckpointInfo) else "a model"
            logger.warning("%s: rows %d to %d of its embedding are left out", name, rows, last)
            trim_rows(model, rows)


@without_gradients()
def trim_rows(model: HookedTransformer, rows: int) -> None:
    """Drop the rows of embedding and output head from ``rows`` on, in place.

    Raises:
        DissectError: the model has fewer rows, or is sharded.
    """
    if model.cfg.d_vocab < rows or is_sharded(model):
        why = "it is sharded" if is_sharded(model) else f"it has {model.cfg.d_vocab}"
        raise DissectError(f"a model cannot be trimmed to a vocabulary of {rows}: {why}")
    if model.cfg.d_vocab == rows:
        return
    embed, unembed = model.embed, model.unembed
    embed.W_E = nn.Parameter(embed.W_E[:rows].clone(), requires_grad=embed.W_E.requires_grad)
    if not tied(model):
        # as in the files, (out, in), so that no pass has to transpose it
        kept = unembed.W_U.T[:rows].clone().T
        unembed.W_U = nn.Parameter(kept, requires_grad=unembed.W_U.requires_grad)
    unembed.b_U = nn.Parameter(unembed.b_U[:rows].clone(), requires_grad=unembed.b_U.requires_grad)
    model.cfg.d_vocab = model.cfg.d_vocab_out = rows
    info = checkpoint_or_none(model)
    if isinstance(info, CheckpointInfo):
        key = "embedding_size" if "embedding_size" in info.config else "vocab_size"
        if isinstance(info.config.get("text_config"), dict):
            config = info.config | {"text_config": info.config["text_config"] | {key: rows}}
        else:
            config = info.config | {key: rows}
        model.checkpoint = replace(info, config=config)
        mark_changed(model, f"trimmed to {rows} rows")
