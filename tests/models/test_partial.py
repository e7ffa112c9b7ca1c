"""Forward passes that leave things out: the numbers of TransformerLens's own."""

import pytest
import torch

import dissect
from dissect.models.running.attention import _rotated, bias_of, can_fuse
from dissect.models.running.forward import embed, final_residual, logits_at, read_out
from dissect.models.running.partial import GIVABLE, run_layers
from tests.support.tiny import ARCHITECTURES


@pytest.fixture
def tokens():
    return torch.randint(0, 300, (3, 17), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_a_pass_equals_transformer_lens(architecture, tiny_pair, tokens):
    model = dissect.load(tiny_pair(architecture)[0], progress=False)
    expected = model(tokens, padding_side="right")
    for fused in (False, True):
        final = run_layers(model, embed(model, tokens), start=0, fused_attention=fused)
        torch.testing.assert_close(read_out(model, final), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "neox", "gpt2", "olmo2", "gemma2"])
@torch.no_grad()
def test_what_is_given_takes_the_place_of_what_would_be_computed(architecture, tiny_pair, tokens):
    model = dissect.load(tiny_pair(architecture)[0], progress=False)
    donor = dissect.load(tiny_pair(architecture)[1], progress=False)
    for layer in range(3):
        for hook in GIVABLE:
            name = f"blocks.{layer}.{hook}"
            if name not in model.hook_dict:
                continue
            _, cache = donor.run_with_cache(tokens, names_filter=name, padding_side="right")
            hooks = [(name, lambda activation, hook, cache=cache: cache[hook.name])]
            with model.hooks(fwd_hooks=hooks):
                expected = final_residual(model, tokens)
            found = run_layers(model, embed(model, tokens), start=0, given={name: cache[name]})
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4, msg=name)


@torch.no_grad()
def test_given_parts_are_not_computed(tiny_pair, tokens):
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    names = ("blocks.1.hook_attn_out", "blocks.1.mlp.hook_post")
    _, given = model.run_with_cache(tokens, names_filter=lambda name: name in names, padding_side="right")
    ran: list[str] = []
    watch = [(name, lambda activation, hook: ran.append(hook.name)) for name in model.hook_dict]
    with model.hooks(fwd_hooks=watch):
        run_layers(model, embed(model, tokens), start=0, given=dict(given))
    assert not [name for name in ran if name.startswith(("blocks.1.attn", "blocks.1.ln", "blocks.1.mlp"))]
    assert "blocks.2.attn.hook_q" in ran


@torch.no_grad()
def test_rotation_is_transformer_lenss(tiny_pair):
    for architecture in ("llama", "llama3_rope", "neox", "phi3_partial"):
        attn = dissect.load(tiny_pair(architecture)[0], progress=False).blocks[0].attn
        x = torch.randn(2, 11, 4, attn.cfg.d_head, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(_rotated(attn, x), attn.apply_rotary(x, 0, None), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_a_bias_that_somebody_set_is_added(tiny_pair, tokens):
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    assert bias_of(model.blocks[1].attn.b_O) is None
    before = run_layers(model, embed(model, tokens), start=0)
    model.blocks[1].attn.b_O += 0.5
    after = run_layers(model, embed(model, tokens), start=0)
    torch.testing.assert_close(after, final_residual(model, tokens), atol=2e-5, rtol=1e-4)
    assert not torch.allclose(before, after)


def test_patterns_are_computed_in_the_open_where_somebody_looks(tiny_pair):
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    assert can_fuse(model.blocks[0].attn)
    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_pattern", lambda activation, hook: None)]):
        assert not can_fuse(model.blocks[0].attn)
    assert not can_fuse(dissect.load(tiny_pair("gemma2")[0], progress=False).blocks[0].attn)


@torch.no_grad()
def test_logits_are_read_where_asked(tiny_pair, tokens):
    model = dissect.load(tiny_pair("gpt2")[0], progress=False)
    where = torch.zeros_like(tokens, dtype=torch.bool)
    where[0, 3] = where[2, 5] = True
    expected = model(tokens, padding_side="right")[where]
    torch.testing.assert_close(logits_at(model, final_residual(model, tokens), where), expected, atol=1e-5, rtol=1e-5)
