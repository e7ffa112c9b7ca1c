"""Plain training loops on transformers' own models; nothing of the trainer under test has a part in them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from dissect.data.facts import Facts
from dissect.data.prompts import Prompts

BATCH = 16


@dataclass(frozen=True)
class Texts:
    """Tokens padded on the right, and labels: -100 where nothing is scored."""

    tokens: Tensor
    labels: Tensor

    @classmethod
    def of(cls, facts: Facts, tokenizer: object) -> "Texts":
        """Questions with their answers scored, and the end of the text behind them."""
        prompts: Prompts = facts.prompts(tokenizer, progress=False)
        rows = torch.arange(len(prompts))
        tokens, labels = F.pad(prompts.tokens, (0, 1)), F.pad(prompts.labels, (0, 1), value=-100)
        tokens[rows, prompts.lengths] = labels[rows, prompts.lengths] = tokenizer.eos_token_id  # type: ignore[attr-defined]
        return cls(tokens, labels)

    def batches(self, steps: int, seed: int, size: int = BATCH) -> Iterable["Texts"]:
        """``steps`` batches, every text once before any comes again."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.empty(0, dtype=torch.long)
        for _ in range(steps):
            while len(order) < min(size, len(self.tokens)):
                order = torch.cat([order, torch.randperm(len(self.tokens), generator=generator)])
            rows, order = order[:size], order[size:]
            yield Texts(self.tokens[rows], self.labels[rows])


def logits_of(model: LlamaForCausalLM, texts: Texts) -> tuple[Tensor, Tensor]:
    """Logits and targets of the scored tokens, with their rows lost: (scored, vocab) and (scored,)."""
    logits, labels = model(texts.tokens).logits[:, :-1], texts.labels[:, 1:]
    return logits[labels != -100], labels[labels != -100]


def nll_of(model: LlamaForCausalLM, texts: Texts) -> Tensor:
    """Negative log-likelihood of each text's scored tokens, summed: (text,)."""
    logits, labels = model(texts.tokens).logits[:, :-1], texts.labels[:, 1:]
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
    return losses.view(labels.shape).sum(1)


def objective(name: str, reference: LlamaForCausalLM) -> Callable[[LlamaForCausalLM, Texts], Tensor]:
    """The loss on texts to be forgotten (or, for ``learn``, to be learnt)."""

    def learn(model: LlamaForCausalLM, texts: Texts) -> Tensor:
        return F.cross_entropy(*logits_of(model, texts))

    def ascend(model: LlamaForCausalLM, texts: Texts) -> Tensor:
        return -learn(model, texts)

    def npo(model: LlamaForCausalLM, texts: Texts, beta: float = 0.1) -> Tensor:
        with torch.no_grad():
            before = nll_of(reference, texts)
        return -(2 / beta) * F.logsigmoid(beta * (nll_of(model, texts) - before)).mean()

    def simnpo(model: LlamaForCausalLM, texts: Texts, beta: float = 4.5) -> Tensor:
        lengths = (texts.labels != -100).sum(1)
        return -(2 / beta) * F.logsigmoid(beta * nll_of(model, texts) / lengths).mean()

    def undial(model: LlamaForCausalLM, texts: Texts, gamma: float = 10.0) -> Tensor:
        logits, targets = logits_of(model, texts)
        with torch.no_grad():
            taught, _ = logits_of(reference, texts)
            taught = taught.scatter_add(
                1, targets[:, None], torch.full_like(targets[:, None], -gamma, dtype=taught.dtype)
            )
        return -(taught.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()

    return {"learn": learn, "ga": ascend, "grad_diff": ascend, "npo": npo, "simnpo": simnpo, "undial": undial}[name]


def train(
    model: LlamaForCausalLM,
    loss: Callable[[LlamaForCausalLM, Texts], Tensor],
    texts: Texts,
    *,
    steps: int,
    lr: float,
    seed: int,
    names: Sequence[str] | None = None,
    retain: Texts | None = None,
    until: Callable[[], bool] | None = None,
    every: int = 4,
) -> int:
    """Adam in place on the parameters whose names contain one of ``names`` (all where None); the steps taken.

    Args:
        retain: texts whose negative log-likelihood is added.
        until: ends training when true; asked after ``every`` steps.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(names is None or any(part in name for part in names))
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr, betas=(0.9, 0.95))
    kept = iter(()) if retain is None else iter(retain.batches(steps, seed + 1))
    done = 0
    with torch.enable_grad():
        for batch in texts.batches(steps, seed):
            value = loss(model, batch)
            if retain is not None:
                value = value + F.cross_entropy(*logits_of(model, next(kept)))
            adam.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            adam.step()
            done += 1
            if until is not None and done % every == 0 and until():
                break
    model.requires_grad_(True)
    return done


@torch.no_grad()
def answered(model: LlamaForCausalLM, texts: Texts) -> float:
    """Share of texts whose every scored token is the most likely one."""
    right = 0
    for start in range(0, len(texts.tokens), 256):
        logits, labels = model(texts.tokens[start : start + 256]).logits[:, :-1], texts.labels[start : start + 256, 1:]
        hit = (logits.argmax(-1) == labels) | (labels == -100)
        right += int(hit.all(1).sum())
    return right / len(texts.tokens)
