"""Ctrl-C at every moment at which Python would notice it, one moment a run, without waiting for chance.

CPython looks for signals when a function begins, when one written in C has returned, and when a loop jumps back. A
profiler is told of the first two, with the frame that a handler would see: so what is raised there is raised exactly
where a real Ctrl-C would be, and the same moment comes again in every run.
"""

import gc
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformer_lens import HookedTransformer

Act = Callable[[], object]

_AFTER = 2
"""Moments after an act, those of the profile's own end."""
_DELICATE = ("change.py", "gradient_mode.py", "hooked.py", "contextlib.py", "grad_mode.py", "hook_points.py")
"""Files whose few lines put things into a state that must not last."""


@contextmanager
def ctrl_c() -> Iterator[None]:
    """In the body Ctrl-C raises, as in a terminal: what runs in a shell's background was started with it ignored."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def moments(act: Act) -> list[bool]:
    """One entry for each moment of ``act`` at which it can be interrupted: whether it is a delicate one."""
    seen: list[bool] = []

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if event in ("call", "c_return"):
            seen.append(frame.f_code.co_filename.endswith(_DELICATE))

    with _profiled(note):
        act()
    return seen[:-_AFTER]


def interrupt(act: Act, moment: int) -> KeyboardInterrupt | None:
    """Run ``act`` and press Ctrl-C at that moment; what was raised, with all its frames, so that none is closed."""
    count = 0

    def press(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        if event in ("call", "c_return"):
            if count == moment:
                count += 1
                handler = signal.getsignal(signal.SIGINT)
                assert callable(handler)
                handler(signal.SIGINT, frame)
            count += 1

    try:
        with _profiled(press):
            act()
    except KeyboardInterrupt as raised:
        return raised
    return None


@contextmanager
def _profiled(note: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    """No garbage is collected meanwhile: that comes when it will, and swallows what is raised in it."""
    collected = gc.isenabled()
    gc.disable()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        if collected:
            gc.enable()


def sample(act: Act, most: int, *, seed: int = 0) -> list[int]:
    """At most so many moments of ``act``, half of them delicate ones, as far as there are such."""
    delicate = moments(act)
    drawn = random.Random(seed)
    kinds = [[number for number, kind in enumerate(delicate) if kind is which] for which in (True, False)]
    chosen = drawn.sample(kinds[0], min(len(kinds[0]), most // 2))
    return sorted(chosen + drawn.sample(kinds[1], min(len(kinds[1]), most - len(chosen))))


def state(*models: HookedTransformer, trained: bool = False) -> dict[str, Any]:
    """Everything that an interruption must leave as it was; of models that are ``trained``, all but the weights."""
    return {
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "handler": signal.getsignal(signal.SIGINT),
        "random": random.getstate(),
        "torch random": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "models": [_model_state(model, trained) for model in models],
    }


def _model_state(model: HookedTransformer, trained: bool) -> dict[str, Any]:
    modules = [module for module in model.modules() if module._forward_hooks or module._forward_pre_hooks]
    return {
        "hooks": len(modules) + sum(len(point.fwd_hooks) + len(point.bwd_hooks) for point in model.hook_dict.values()),
        "level": model.context_level,
        "training": model.training,
        "fingerprint": None if trained else model.checkpoint.fingerprint,
        "parameters": {
            name: (
                parameter.data_ptr(),
                0.0 if trained else float(parameter.detach().double().sum()),
                parameter.requires_grad,
                parameter.grad is None,
                len(parameter._post_accumulate_grad_hooks or ()),
            )
            for name, parameter in model.named_parameters()
        },
    }
