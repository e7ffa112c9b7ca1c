"""transformers' own model with the weights of a checkpoint that dissect loaded: what its numbers are compared with."""

import torch
from torch import Tensor
from transformer_lens import HookedTransformer
from transformers import AutoModelForCausalLM, PreTrainedModel

from dissect.errors import DissectError
from dissect.models.checkpoint import checkpoint_of
from dissect.models.families import FAMILIES, find_family, transformers_config, weight_map
from dissect.models.families.family import Family
from dissect.models.files.weight_files import WeightFiles
from dissect.undoing.gradient_mode import without_gradients
from dissect.undoing.random_state import seeded


@without_gradients()
def native_model(model: HookedTransformer) -> PreTrainedModel:
    """A transformers model in float32 and evaluation mode, filled from the files and not from ``model``.

    No code of the checkpoint is run. Where transformers does not have the layout of the files (OLMo's older one, a text
    model within a larger one), it is the same model in the layout that it has.

    Raises:
        DissectError: the files are no longer what was loaded, or transformers needs tensors that they do not have.
    """
    info = checkpoint_of(model)
    family = find_family(info.config)
    config = transformers_config(family, info.config)
    config._attn_implementation = "eager"  # soft caps on scores exist nowhere else
    with seeded(0):  # first weights, all of which are replaced
        native = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    files = WeightFiles.open(info.path, info.adapter, family, weight_map(family, config, model.cfg), tied=info.tied)
    same = next((each for each in FAMILIES if each.architecture == family.computes_as), family)
    stored = _as_stored(files) if same is family else _renamed(files, same, model)
    state = {"lm_head.weight" if name == same.head else name: tensor.float() for name, tensor in stored.items()}
    missing, unexpected = native.load_state_dict(state, strict=False)
    left = [name for name in missing if not (info.tied and name == "lm_head.weight")]
    if left or unexpected:
        raise DissectError(f"transformers' {family.architecture} does not fit the files: {[*left, *unexpected][:3]}")
    native.tie_weights()
    return native


def _as_stored(files: WeightFiles) -> dict[str, Tensor]:
    return {weight.name: files.read(weight) for weight in files.weights}


def _renamed(files: WeightFiles, same: Family, model: HookedTransformer) -> dict[str, Tensor]:
    """The tensors of another layout that computes the same."""
    params: dict[str, Tensor] = {}
    for weight in files.weights:
        params |= dict(zip(weight.params, weight.split(files.read(weight)), strict=True))
    theirs = {"vocab_size": model.cfg.d_vocab, "intermediate_size": model.cfg.d_mlp}
    config = transformers_config(same, {**theirs, "tie_word_embeddings": model.checkpoint.tied})
    return {
        weight.name: weight.join([params[name] for name in weight.params])
        for weight in weight_map(same, config, model.cfg)
    }
