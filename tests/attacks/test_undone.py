"""After an attack the model is as it was, to the bit, also where it was interrupted."""

import pytest
import torch

import dissect
from dissect.attacks import attack as room
from dissect.attacks import sampled_answers
from dissect.unlearning.run.trainer import Trainer
from tests.attacks.bench import ATTACKS, TRAINING, few, target


@pytest.fixture(scope="module")
def model(tiny_pair):
    return dissect.load(tiny_pair("gpt2")[0], progress=False)


def state(model) -> dict:
    """Everything that an attack could leave behind."""
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "own": {name: value.data_ptr() for name, value in model.named_parameters()},
        "asking": {name: (value.requires_grad, value.grad is None) for name, value in model.named_parameters()},
        "hooks": [(len(each._forward_hooks), len(each._backward_hooks)) for each in model.modules()],
        "mode": (model.training, torch.is_grad_enabled(), torch.random.get_rng_state().sum().item()),
        "checkpoint": model.checkpoint,
    }


def check(model, before: dict) -> None:
    after = state(model)
    for name, weight in before.pop("weights").items():
        assert torch.equal(weight, after["weights"][name]), name
    after.pop("weights")
    assert before == after


@pytest.mark.parametrize("name", ATTACKS)
def test_as_it_was(model, name):
    before = state(model)
    ATTACKS[name].run(target(model), **few(ATTACKS[name]))
    check(model, before)


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("name", TRAINING)
def test_interrupted_training(model, monkeypatch, name, lora_rank):
    before = state(model)
    steps = []

    def update(self, optimizer, lr):
        original(self, optimizer, lr)
        steps.append(lr)
        if len(steps) == 2:
            raise KeyboardInterrupt

    original = Trainer._update
    monkeypatch.setattr(Trainer, "_update", update)
    with pytest.raises(KeyboardInterrupt):
        ATTACKS[name].run(target(model), **few(ATTACKS[name], lora_rank=lora_rank))
    check(model, before)


@pytest.mark.parametrize("name", ATTACKS)
def test_interrupted_reading(model, monkeypatch, name):
    """In the middle of what is read of the model while it is another."""
    if ATTACKS[name].family == "states" and name != "direction_ablated":
        return  # these change nothing
    seen = []

    def interrupt(model, *_, **__):
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        raise KeyboardInterrupt

    before = state(model)
    monkeypatch.setattr(room, "score_sheets", interrupt)
    monkeypatch.setattr(sampled_answers, "sample", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ATTACKS[name].run(target(model), **few(ATTACKS[name]))
    changed = any(not torch.equal(value, seen[0][key]) for key, value in before["weights"].items())
    assert changed == (ATTACKS[name].trains or name.startswith("rounding"))
    check(model, before)
