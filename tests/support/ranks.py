"""A function on several ranks at once: processes of one thread each, connected by gloo, as torchrun starts them."""

import multiprocessing
import os
import pickle
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

needs_sharding = pytest.mark.skipif(
    tuple(map(int, version("torch").split(".")[:2])) < (2, 8), reason="sharded models need torch 2.8"
)
_PRELOADED = ["dissect.patching.attribute", "dissect.restoration.restore", "dissect.unlearning.unlearn"]
_CONTEXT = multiprocessing.get_context("forkserver")  # imports torch once, and then forks
_CONTEXT.set_forkserver_preload(["torch.distributed.fsdp", "torch.distributed.checkpoint", *_PRELOADED])


class RankFailed(AssertionError):
    """A rank raised; the message is its traceback."""


def run_ranks(
    n: int, function: Callable[..., Any], *args: Any, timeout: float = 600.0, wait: float = 120.0
) -> list[Any]:
    """What ``function(*args)`` returns on each of ``n`` ranks, the group started around it.

    Args:
        timeout: seconds after which the test fails.
        wait: seconds for which ranks wait for each other.
    """
    ended = start_ranks(n, function, *args, timeout=timeout, wait=wait)
    failed = [said for status, said in ended if status == "raised"]
    if failed or any(status != "returned" for status, _ in ended):
        raise RankFailed("\n".join(failed) or str(ended))
    return [result for _, result in ended]


def start_ranks(
    n: int, function: Callable[..., Any], *args: Any, timeout: float = 600.0, wait: float = 120.0
) -> list[tuple[str, Any]]:
    """How each rank ended: ``returned`` with its result, ``raised`` with its traceback, or ``died`` with its status."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as directory:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        files = [Path(directory) / str(rank) for rank in range(n)]
        ranks = [
            _CONTEXT.Process(target=_rank, args=(rank, n, port, wait, files[rank], function, args), daemon=True)
            for rank in range(n)
        ]
        for process in ranks:
            process.start()
        until = time.monotonic() + timeout
        for process in ranks:
            process.join(max(0.0, until - time.monotonic()))
        hanging = [rank for rank, process in enumerate(ranks) if process.is_alive()]
        for rank in hanging:
            ranks[rank].kill()
        assert not hanging, f"ranks {hanging} still ran after {timeout} s"
        return [
            pickle.loads(file.read_bytes()) if file.is_file() else ("died", process.exitcode)
            for file, process in zip(files, ranks, strict=True)
        ]


def _rank(rank: int, n: int, port: int, wait: float, file: Path, function: Callable[..., Any], args: Any) -> None:
    import torch

    from dissect.distributed import started

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(n), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with started(wait):
            result: tuple[str, Any] = ("returned", function(*args))
    except BaseException:
        result = ("raised", traceback.format_exc())
    temporary = file.with_suffix(".part")
    temporary.write_bytes(pickle.dumps(result))
    temporary.rename(file)
    if result[0] == "raised":
        os._exit(1)
