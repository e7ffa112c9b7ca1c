"""One Ctrl-C, whenever it comes, leaves a session as it was: gradients, hooks, weights, handlers, random numbers."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

import dissect
from dissect.measures.representation.fisher import _squared
from dissect.models.changing.hooked import hooked
from dissect.models.running.forward import caching
from dissect.models.running.generate import greedy
from dissect.patching.gradients import frozen
from dissect.undoing.change import Change, together
from dissect.undoing.gradient_mode import gradients_as_they_are, with_gradients, without_gradients
from dissect.undoing.random_state import seeded
from dissect.unlearning.parameters.trainable import only_these
from tests.patching.test_patch import prompts_of
from tests.support.interrupted import ctrl_c, interrupt, moments, sample, state

QUIET = {"progress": False}


def test_the_library_uses_its_own_contexts_alone():
    """Those of others have a moment at which Ctrl-C leaves them half done; see `dissect.undoing.change`."""
    modes = r"torch\.(no_grad|enable_grad|inference_mode|set_grad_enabled)\("
    bare = re.compile(modes + r"|\.hooks\(|ExitStack\(|fork_rng\(")
    code = [
        line.partition("#")[0]
        for path in Path(dissect.__file__).parent.rglob("*.py")
        if path.name not in ("gradient_mode.py", "change.py")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert [line for line in code if bare.search(line) and "``" not in line] == []


@pytest.fixture
def pair(tiny_pair):
    return dissect.load_pair(*tiny_pair("llama"), progress=False)


def check(act: Callable[[], object], which: list[int], *models) -> int:
    """Interrupt ``act`` at these moments, each in a run of its own; how many of them it noticed at once or later."""
    noticed = 0
    with ctrl_c():
        before = state(*models)
        for moment in which:
            raised = interrupt(act, moment)
            after = state(*models)
            assert after == before, f"moment {moment} left {[key for key in before if after[key] != before[key]]}"
            noticed += raised is not None
    return noticed


def swaps(model, other) -> list[Change]:
    names = ("blocks.0.hook_mlp_out", "blocks.1.hook_attn_out")
    return [
        hooked(model, [(name, lambda activation, hook: None) for name in names]),
        dissect.restored(model, other, blocks=["mlp.W_out"], layers=[0]),
    ]


CONTEXTS: dict[str, Callable[..., AbstractContextManager]] = {
    "without gradients": lambda model, other: without_gradients(),
    "with gradients": lambda model, other: with_gradients(),
    "gradients as they are": lambda model, other: gradients_as_they_are(),
    "hooked": lambda model, other: swaps(model, other)[0],
    "caching": lambda model, other: caching(model, ["blocks.0.hook_mlp_out"]),
    "together": lambda model, other: together(swaps(model, other)),
    "restored": lambda model, other: dissect.restored(model, other, blocks=["mlp.W_out"], neurons=[1]),
    "restored low rank": lambda model, other: dissect.restored(model, other, blocks=["attn.W_V"], layers=[0], rank=1),
    "quantised": lambda model, other: dissect.quantised(model, "int8"),
    "frozen": lambda model, other: frozen(model),
    "only these": lambda model, other: only_these(model, ["embed.W_E"]),
    "squared gradients": lambda model, other: _squared(model, ["embed.W_E"]),
    "seeded": lambda model, other: seeded(3),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_context_is_left_as_it_was_entered_at_every_moment(name, pair):
    model, other = pair.unlearned, pair.base

    def enter() -> None:
        with CONTEXTS[name](model, other):
            torch.is_grad_enabled()

    every = range(len(moments(enter)))
    chosen = every if len(every) <= 250 else sample(enter, 250)
    noticed = check(enter, list(chosen), model, other)
    assert noticed == len(chosen), "an interruption was swallowed"


def test_torch_and_transformer_lens_leave_something_behind(pair):
    """Why the library has contexts of its own; the day that this fails they may go."""

    def gradients() -> None:
        with torch.no_grad():
            torch.is_grad_enabled()

    def hooks() -> None:
        with pair.base.hooks(fwd_hooks=[("hook_embed", lambda activation, hook: None)]):
            torch.is_grad_enabled()

    with ctrl_c():
        left = set()
        for moment in range(len(moments(gradients))):
            interrupt(gradients, moment)
            left.add(torch.is_grad_enabled())
            torch.set_grad_enabled(True)
        assert left == {True, False}
        counts = set()
        for moment in range(len(moments(hooks))):
            interrupt(hooks, moment)
            counts.add(state(pair.base)["models"][0]["hooks"])
            pair.base.reset_hooks()
            pair.base.context_level = 0
        assert max(counts) > 0


ACTS: dict[str, Callable[..., object]] = {
    "patch": lambda pair, prompts: dissect.patch(
        pair, prompts, components=["mlp_out"], layers=[1], positions="last_prompt", **QUIET
    ),
    "restore": lambda pair, prompts: dissect.restore(pair, prompts, blocks=["mlp.W_out"], layers=[1], rank=1, **QUIET),
    "attribute": lambda pair, prompts: dissect.attribute(pair, prompts, components=["mlp_out"], **QUIET),
    "logit attribution": lambda pair, prompts: dissect.logit_attribution(pair, prompts, **QUIET),
    "generate": lambda pair, prompts: greedy(pair.unlearned, [prompts.tokens[0, :5]], max_new_tokens=2, **QUIET),
}


@pytest.mark.parametrize("name", ACTS)
def test_a_call_leaves_nothing_behind_at_any_moment(name, pair, facts):
    prompts = prompts_of(facts[:1], pair)

    def act() -> None:
        ACTS[name](pair, prompts)

    act()  # what is made once, such as caches
    assert check(act, sample(act, 30), pair.base, pair.unlearned) > 0


def test_a_training_run_leaves_nothing_but_trained_weights(tiny_pair, facts):
    """And another one trains: that is what a session with gradients switched off does not."""
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    prompts = facts[:1].prompts(model)

    def act() -> None:
        dissect.unlearn(model, forget=prompts, method="npo", epochs=1, lr=1e-4, **QUIET)

    act()
    for moment in sample(act, 30):
        with ctrl_c():
            before = state(model, trained=True)
            interrupt(act, moment)
            assert state(model, trained=True) == before, f"moment {moment}"
    weight = model.embed.W_E.detach().clone()
    act()
    assert not torch.equal(weight, model.embed.W_E)
