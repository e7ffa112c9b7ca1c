"""Global state, kind by kind: how it is read, and put back."""

import logging
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rich.style  # noqa: F401 - draws a random number when it is imported
import sklearn  # noqa: F401 - sets environment variables when it is imported
import torch

_OWN = ("PYTEST_CURRENT_TEST",)
"""Environment variables that pytest sets itself."""

_guards: list[Any] = []


@dataclass(frozen=True)
class Kind:
    """Something global: how it is read, and put back to what was read."""

    read: Callable[[], Any]
    put: Callable[[Any], object]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OWN}


def _put_environment(values: dict[str, str]) -> None:
    for name in _environment().keys() - values.keys():
        del os.environ[name]
    os.environ.update(values)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _put_handlers(values: dict[int, Any]) -> None:
    for number, handler in values.items():
        if signal.getsignal(number) != handler and handler is not None:
            signal.signal(number, handler)


def _put_inference(mode: bool) -> None:
    _guards.append(torch._C._InferenceMode(mode))  # a guard's end would bring back what was before it


def _logs() -> dict[str, tuple[int, bool, list[logging.Handler]]]:
    known = [name for name in logging.Logger.manager.loggerDict if name.partition(".")[0] == "dissect"]
    loggers = {name: logging.getLogger(name) for name in known}
    state = {name: (logger.level, logger.disabled, list(logger.handlers)) for name, logger in loggers.items()}
    fresh = (logging.NOTSET, False, [])
    return {name: values for name, values in state.items() if values != fresh}


def _put_logs(values: dict[str, tuple[int, bool, list[logging.Handler]]]) -> None:
    for name in _logs().keys() | values.keys():
        logger = logging.getLogger(name)
        level, logger.disabled, handlers = values.get(name, (logging.NOTSET, False, []))
        logger.setLevel(level)
        logger.handlers[:] = handlers


def _numpy_state() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    return (kind, bytes(keys), *rest)


def _put_numpy_state(state: tuple[Any, ...]) -> None:
    np.random.set_state((state[0], np.frombuffer(state[1], dtype=np.uint32), *state[2:]))


def _put_torch_state(state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


RANDOM = ("Python's random numbers", "NumPy's random numbers", "torch's random numbers")
"""What a test with the mark ``draws`` may use: comparisons with libraries that know no generators."""

KINDS = {
    "gradient mode": Kind(torch.is_grad_enabled, torch.set_grad_enabled),
    "inference mode": Kind(torch.is_inference_mode_enabled, _put_inference),
    "default dtype": Kind(torch.get_default_dtype, torch.set_default_dtype),
    "deterministic algorithms": Kind(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "threads of torch": Kind(torch.get_num_threads, torch.set_num_threads),
    "matrix product precision": Kind(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "Python's random numbers": Kind(random.getstate, random.setstate),
    "NumPy's random numbers": Kind(_numpy_state, _put_numpy_state),
    "torch's random numbers": Kind(lambda: torch.get_rng_state().numpy().tobytes(), _put_torch_state),
    "signal handlers": Kind(_handlers, _put_handlers),
    "working directory": Kind(os.getcwd, os.chdir),
    "environment variables": Kind(_environment, _put_environment),
    "logging": Kind(_logs, _put_logs),
}
"""By the name that the failing test gives."""
