"""Fitting a tuned lens (Belrose et al. 2023, arXiv 2303.08112): one affine translator for each layer.

The translator h ↦ h + A_l h + b_l begins as the identity; the model's own final norm and unembedding follow it. It is
fitted so that KL(p_final ‖ p_l), in nats, is small on average over tokens, with the model frozen.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.models.running.forward import read_out
from dissect.reading.layer_lens import LOGITS_AT_ONCE
from dissect.undoing.gradient_mode import gradients_as_they_are, without_gradients


@dataclass(frozen=True)
class TunedLens:
    """The translators; the last layer needs none, what follows it is what the model does."""

    weight: Float[Tensor, "translated d_model d_model"]
    """A_l: row i is what is added to component i."""
    bias: Float[Tensor, "translated d_model"]

    def translated(self, layer: int, states: Float[Tensor, "scored d_model"]) -> Float[Tensor, "scored d_model"]:
        """The states after ``layer`` as they would be after the last one."""
        if layer >= len(self.bias):
            return states
        return _moved(states, self.weight[layer], self.bias[layer])


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Settings of a lens's fit."""

    steps: int = 300
    lr: float = 1e-2
    """Learning rate of Adam, falling linearly to 0. In units in which states have components of size 1 and A is a
    rotation: an entry of A moves by lr / sqrt(d_model) a step at most, one of b by lr times the layer's root mean
    square."""
    batch_size: int = 256
    """Tokens a step."""
    seed: int = 0
    progress: bool = False


@gradients_as_they_are()
def fit(
    head: HookedTransformer, states: Float[Tensor, "layer token d_model"], settings: FitSettings | None = None
) -> TunedLens:
    """Fit the translators to the states of ``head``'s own model after each of its layers.

    Layers are fitted side by side, as many at a time as their logits allow; the result is the same as one by one, up to
    rounding. The same arguments give the same lens.
    """
    fitting = settings or FitSettings()
    n_layers, n_tokens, width = states.shape
    at_once = max(1, LOGITS_AT_ONCE // (min(fitting.batch_size, n_tokens) * head.cfg.d_vocab))
    groups = torch.arange(n_layers - 1).split(at_once)
    scale = states[:-1].square().mean((1, 2)).sqrt()  # of a component, by layer
    weights = [states.new_zeros(len(group), width, width).requires_grad_() for group in groups]
    biases = [states.new_zeros(len(group), width).requires_grad_() for group in groups]
    rates = [{"params": weights, "lr": fitting.lr / width**0.5}, {"params": biases, "lr": fitting.lr}]
    adam = torch.optim.Adam(rates)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / max(1, fitting.steps))
    generator = torch.Generator().manual_seed(fitting.seed)
    for _ in tqdm(
        range(fitting.steps if n_layers > 1 else 0), desc="tuned lens", unit="step", disable=not fitting.progress
    ):
        batch = torch.randint(n_tokens, (min(fitting.batch_size, n_tokens),), generator=generator).to(states.device)
        with without_gradients():
            target = _logs(head, states[-1:, batch])
        for group, weight, bias in zip(groups, weights, biases, strict=True):
            moved = _moved(states[group][:, batch], weight, bias * scale[group, None])
            # only the translators' gradients: those of the model's own parameters are not touched
            weight.grad, bias.grad = torch.autograd.grad(_divergence(target, _logs(head, moved)), (weight, bias))
        adam.step()
        schedule.step()
    if n_layers == 1:
        return TunedLens(states.new_zeros(0, width, width), states.new_zeros(0, width))
    return TunedLens(torch.cat(weights).detach(), (torch.cat(biases) * scale[:, None]).detach())


def _moved(
    states: Float[Tensor, "*layer token d_model"],
    weight: Float[Tensor, "*layer d_model d_model"],
    bias: Float[Tensor, "*layer d_model"],
) -> Float[Tensor, "*layer token d_model"]:
    """h + A h + b, in the format of the states."""
    exact = states.to(weight.dtype)
    return (exact + exact @ weight.mT + bias[..., None, :]).to(states.dtype)


def _logs(
    head: HookedTransformer, states: Float[Tensor, "layer token d_model"]
) -> Float[Tensor, "layer token d_vocab"]:
    return read_out(head, states.to(head.cfg.dtype)).log_softmax(-1)


def _divergence(
    target: Float[Tensor, "1 token d_vocab"], logs: Float[Tensor, "layer token d_vocab"]
) -> Float[Tensor, ""]:
    """Sum over layers of the mean over tokens of KL(target ‖ p_l)."""
    total = functional.kl_div(logs, target.expand_as(logs), log_target=True, reduction="sum")
    return total / logs.shape[1]
