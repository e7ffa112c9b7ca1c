"""A test that leaves something behind fails itself, and the next one finds everything as it was."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PLANTED = {
    "gradient mode": "torch.no_grad().__enter__()",
    "inference mode": "kept.append(torch.inference_mode()); kept[-1].__enter__()",
    "default dtype": "torch.set_default_dtype(torch.float64)",
    "deterministic algorithms": "torch.use_deterministic_algorithms(True)",
    "threads of torch": "torch.set_num_threads(torch.get_num_threads() + 1)",
    "matrix product precision": "torch.set_float32_matmul_precision('medium')",
    "Python's random numbers": "random.seed(1)",
    "NumPy's random numbers": "np.random.rand()",
    "torch's random numbers": "torch.rand(1)",
    "signal handlers": "signal.signal(signal.SIGINT, lambda *_: None)",
    "working directory": "os.chdir('/')",
    "environment variables": "os.environ['LEFT'] = '1'",
    "logging": "logging.getLogger('dissect.models').setLevel(logging.DEBUG)",
    "thread": "threading.Thread(target=time.sleep, args=[30], name='left').start()",
    "process": "kept.append(subprocess.Popen(['sleep', '60']))",
    "hooks of a model": "model.add_hook('hook_embed', lambda activation, hook: None)",
    "hooks of a model (torch)": "model.unembed.register_forward_hook(lambda *_: None)",
    "training mode of a model": "model.train()",
    "parameters that ask": "model.embed.W_E.requires_grad_(False)",
    "gradients of a model": "(model.embed.W_E.sum() * 0).backward()",
}

FILE = """
import logging, os, random, signal, subprocess, threading, time
import numpy as np, pytest, torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from tests.support import leaks
from tests.support.leaks import clean_session, leaves_nothing

leaks.PATIENCE = 0.2
kept = []

@pytest.fixture(scope="session")
def model(clean_session):
    with torch.random.fork_rng(devices=[]):
        sizes = {"n_layers": 1, "d_model": 4, "n_ctx": 4, "d_head": 2, "n_heads": 2, "d_vocab": 5}
        cfg = HookedTransformerConfig(**sizes, act_fn="relu", device="cpu")
        return HookedTransformer(cfg).eval()

@pytest.fixture(scope="module")
def leaking():
    os.environ["FIXTURE"] = "1"

def test_begin(model):
    pass
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of a file with a leak of each kind, and a clean test after each."""
    directory = tmp_path_factory.mktemp("planted")
    bodies = [FILE]
    for number, action in enumerate(PLANTED.values()):
        bodies.append(f"def test_leak_{number}(model):\n    {action}\n\ndef test_clean_{number}(model):\n    pass\n")
    bodies.append("def test_leak_of_fixture(leaking):\n    pass\n\ndef test_clean_fixture():\n    pass\n")
    bodies.append(
        "@pytest.mark.draws\ndef test_clean_mark():\n    torch.rand(1)\n\ndef test_clean_after():\n    pass\n"
    )
    (directory / "test_planted.py").write_text("\n".join(bodies))
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:randomly", "-p", "no:cacheprovider", "-o", "addopts="]
    done = subprocess.run(
        [*command, "--rootdir", str(directory), str(directory)],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize("kind", PLANTED)
def test_each_kind_of_leak_fails_its_own_test_alone(kind, outcome):
    number = list(PLANTED).index(kind)
    section = re.search(rf"ERROR at teardown of test_leak_{number} .*?\n(.*?)\n", outcome)
    assert section is not None, outcome
    said = section[1]
    assert said.startswith("this test left behind: ") and kind.partition(" of a model")[0] in said
    assert said.count(";") == (kind == "inference mode"), "one thing is named; inference is without gradients too"
    assert len(re.findall(rf"::test_clean_{number} PASSED", outcome)) == 1


def test_what_a_fixture_leaves_fails_its_first_test(outcome):
    assert re.search(r"ERROR at setup of test_leak_of_fixture .*?\na fixture of this test, .*FIXTURE", outcome), outcome
    assert "::test_clean_fixture PASSED" in outcome
    assert "::test_clean_mark PASSED" in outcome and "::test_clean_after PASSED" in outcome
    assert f" {len(PLANTED) + 1} errors in " in outcome and " failed" not in outcome
