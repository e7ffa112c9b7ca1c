"""Task vectors, noise and repair, UNDO: what happens to the weights before the first step and after the last."""

import pytest
import torch

import dissect
from dissect.errors import DissectError
from tests.unlearning.test_training_step import RETAINED


def trained(tiny_pair, facts, method, **settings):
    """Weights of a tiny model before and after a run."""
    model = dissect.load(tiny_pair("llama")[0], dtype=settings.pop("dtype", "float64"), progress=False)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    if method in ("noise_and_repair", "undo"):
        settings.setdefault("retain", dissect.Facts(RETAINED))
    settings = {"lr": 1e-3, "epochs": 3, "progress": False, **settings}
    dissect.unlearn(model, forget=facts, method=method, **settings)
    return before, {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"dtype": "bfloat16"}, {"layers": [1]}])
def test_a_task_vector_of_scale_0_is_the_base_to_the_bit(settings, tiny_pair, facts):
    before, after = trained(tiny_pair, facts, "task_vector", task_scale=0.0, **settings)
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"blocks": ["mlp.W_out"], "neurons": [0, 3]}])
def test_a_task_vector_is_the_opposite_of_learning(settings, tiny_pair, facts):
    before, learned = trained(tiny_pair, facts, "learn", **settings)
    _, negated = trained(tiny_pair, facts, "task_vector", task_scale=1.5, **settings)
    for name, tensor in before.items():
        expected = tensor - 1.5 * (learned[name] - tensor)
        torch.testing.assert_close(negated[name], expected, rtol=0, atol=1e-12)
    assert any(not torch.equal(before[name], tensor) for name, tensor in negated.items())


def test_a_killed_task_vector_ends_the_same(tiny_pair, facts, tmp_path):
    def dies(model, record):
        if record["step"] == 2:
            raise KeyboardInterrupt

    whole = trained(tiny_pair, facts, "task_vector", out=tmp_path / "whole", checkpoint_every=1)[1]
    with pytest.raises(KeyboardInterrupt):
        trained(tiny_pair, facts, "task_vector", out=tmp_path / "out", checkpoint_every=1, callbacks=[dies])
    again = trained(tiny_pair, facts, "task_vector", out=tmp_path / "out", checkpoint_every=1)[1]
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def first_weights(tiny_pair, facts, method, **settings):
    """Weights as they were destroyed, before the first step."""
    seen = []
    before, _ = trained(
        tiny_pair, facts, method, epochs=1, **settings,
        callbacks=[lambda model, _: seen.append({k: v.detach().clone() for k, v in model.named_parameters()})],
    )  # fmt: skip
    return before, seen[0]


def test_undo_of_strength_1_leaves_nothing_of_the_matrices(tiny_pair, facts):
    """The same noise, whatever the weights were: nothing of them can be found in it."""
    before, destroyed = first_weights(tiny_pair, facts, "undo", undo_strength=1.0)
    for name in ("blocks.0.mlp.W_out", "embed.W_E", "blocks.1.attn.W_Q"):
        pair = torch.stack([before[name].flatten(), destroyed[name].flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 4 / before[name].numel() ** 0.5
    rows, columns = before["blocks.0.mlp.W_out"].shape
    assert float(destroyed["blocks.0.mlp.W_out"].std()) == pytest.approx(0.1 * (2 / (rows + columns)) ** 0.5, rel=0.1)
    assert torch.equal(before["blocks.0.ln1.w"], destroyed["blocks.0.ln1.w"])


def test_undo_shrinks_and_noise_adds(tiny_pair, facts):
    before, half = first_weights(tiny_pair, facts, "undo", undo_strength=0.5, undo_noise=0.0)
    torch.testing.assert_close(half["embed.W_E"], before["embed.W_E"] / 2, rtol=1e-12, atol=0)
    before, noisy = first_weights(tiny_pair, facts, "noise_and_repair", noise=0.7, blocks=["mlp.W_out"], layers=[1])
    change = noisy["blocks.1.mlp.W_out"] - before["blocks.1.mlp.W_out"]
    assert float(change.std() / before["blocks.1.mlp.W_out"].std()) == pytest.approx(0.7, rel=0.1)
    assert all(torch.equal(before[n], t) for n, t in noisy.items() if n != "blocks.1.mlp.W_out")


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("task_vector", {"task_scale": -1.0}, "task_scale=-1.0: must be 0 or more"),
        ("task_vector", {"retain": dissect.Facts(RETAINED)}, "uses no retained facts"),
        ("noise_and_repair", {"noise": -0.1}, "noise=-0.1: must be 0 or more"),
        ("noise_and_repair", {"retain": None}, "needs retained facts"),
        ("undo", {"retain": None}, "needs retained facts"),
        ("undo", {"undo_strength": 1.5}, "undo_strength=1.5: must be between 0 and 1"),
        ("undo", {"lora_rank": 4}, "does not go with lora_rank"),
        ("undo", {"retain_loss": "nll"}, "by its own loss"),
    ],
)
def test_wrong_settings_are_refused_before_training(method, settings, message, tiny_pair, facts):
    with pytest.raises(DissectError, match=message):
        trained(tiny_pair, facts, method, **settings)
