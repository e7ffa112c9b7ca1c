"""The squared distance of logits had without them: the same numbers as from the logits."""

import numpy as np
import pytest
import torch

import dissect
from dissect.metrics import metric as metrics_by_name
from dissect.models.running.forward import unembedded
from dissect.restoration.transplant import restored
from dissect.sweep.quadratic import Gram, SquaredDistance
from tests.support.tiny import ARCHITECTURES

KRS = [metrics_by_name.get("krs")]
NOT_SERVED = ("llama3_rope", "phi4_mini", "gemma2", "gemma2_untied", "gemma3_capped")
"""A vocabulary only five times as wide as the model; soft caps on the logits."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_recovery_is_that_of_the_logits(architecture, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    assert Gram.serves(pair.unlearned, KRS) == (architecture not in NOT_SERVED)
    prompts = facts.prompts(pair.tokenizer)

    def sweep(metrics: list[str]) -> np.ndarray:
        found = dissect.concat(
            dissect.patch(pair, prompts, window=1, metrics=metrics, progress=False),
            dissect.restore(pair, prompts, ["mlp"], window=1, metrics=metrics, progress=False),
        )
        return found.recovery("krs").values

    np.testing.assert_allclose(sweep(["krs"]), sweep(["krs", "kl"]), atol=2e-5)


def test_in_float64_it_is_the_definition(tiny_pair):
    pair = dissect.load_pair(*tiny_pair("gpt2_untied"), dtype="float64", progress=False)
    generator = torch.Generator().manual_seed(0)
    read, entering = (torch.randn(7, 32, dtype=torch.float64, generator=generator) for _ in range(2))
    with torch.no_grad():
        pair.unlearned.unembed.b_U.add_(0.3)
        theirs, ours = unembedded(pair.base, read), unembedded(pair.unlearned, entering)
        distance = SquaredDistance(pair.unlearned, Gram(pair.unlearned), read, theirs)
        torch.testing.assert_close(distance(entering), (ours - theirs).square().mean(-1), rtol=1e-12, atol=0)


@torch.no_grad()
def test_what_is_equal_is_at_distance_zero(tiny_pair):
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    read = torch.randn(7, 32, generator=torch.Generator().manual_seed(1))
    distance = SquaredDistance(model, Gram(model), read, unembedded(model, read))
    assert distance(read.clone()).abs().max() == 0.0
    near = distance(read + 1e-4)
    assert near.min() > 0, "and what is hardly different is not lost in rounding"
    exact = (torch.full((32,), 1e-4).double() @ model.unembed.W_U.double()).square().mean()
    torch.testing.assert_close(near, exact.expand(7), rtol=1e-3, atol=0)


def test_a_swapped_unembedding_is_seen(tiny_pair, facts):
    """With the base model's last residual stream, final norm and unembedding the base model's logits are back."""
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = facts.prompts(pair.tokenizer)
    with restored(pair.unlearned, pair.base, blocks=["ln_final", "unembed"]):
        result = dissect.patch(pair, prompts, ["resid_post"], window=1, layers=[2], progress=False)
    assert (result.recovery("krs") == 1.0).all()
    gram = Gram(pair.unlearned)
    assert gram.fits(pair.unlearned)
    with restored(pair.unlearned, pair.base, blocks=["unembed"]):
        assert not gram.fits(pair.unlearned)
    assert gram.fits(pair.unlearned)
