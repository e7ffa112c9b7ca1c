"""One record a method: what everything else derives from it, and what a new one needs."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from dissect.cli import main
from dissect.cli.arguments.field_help import field_docstrings, first_sentence
from dissect.cli.arguments.training_options import ELSEWHERE
from dissect.errors import DissectError
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.losses import undial
from dissect.unlearning.methods import METHODS

DOCS = Path(__file__).parents[2] / "docs" / "unlearning.md"
OWN = sorted({name for method in METHODS.values() for name in method.own_settings})
OTHER_THAN_DEFAULT = {
    "beta": 0.3,
    "gamma": 3.0,
    "delta": 0.5,
    "variant": "official",
    "focus": "soft",
    "focus_weight": 2.0,
    "steering_layer": 1,
    "steering_coeff": 3.0,
    "adaptive": 5.0,
    "retain_eps": 0.7,
    "dual_step": 0.5,
    "dual_warmup_epochs": 1,
    "task_scale": 2.0,
    "noise": 0.3,
    "undo_strength": 0.5,
    "undo_noise": 0.3,
}


@pytest.mark.parametrize("name", METHODS)
def test_the_documentation_has_every_record(name):
    method = METHODS[name]
    (row,) = (
        line
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{name}` | {method.equation}")
    )
    assert method.source in row
    assert method.beta is None or f"`beta` {method.beta:g}" in row
    for setting in (*method.settings, *method.run_settings):
        default = getattr(TrainConfig, setting)
        assert (f"`{setting}`" if default is None else f"`{setting}` {default:g}") in row


def test_the_forms_of_undial_are_those_of_its_loss():
    from dissect.unlearning.losses.undial import Variant

    assert set(METHODS["undial"].variants) == set(get_args(Variant))
    assert next(iter(METHODS["undial"].variants)) == TrainConfig.variant
    assert callable(undial)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("setting", OWN)
def test_a_setting_is_taken_by_its_own_methods_alone(name, setting):
    settings = {"method": name, setting: OTHER_THAN_DEFAULT[setting]}
    if setting == "focus_weight":
        settings["focus"] = "soft"
    if name == "pdu":
        settings.setdefault("retain_eps", 0.2)
    if setting in METHODS[name].own_settings:
        assert getattr(TrainConfig(**settings), setting) == OTHER_THAN_DEFAULT[setting]
    else:
        with pytest.raises(DissectError, match=name):
            TrainConfig(**settings)


def test_the_command_line_has_every_setting(capsys):
    assert main(["unlearn", "--help"]) == 0
    helped = capsys.readouterr().out
    together, docstrings = "".join(helped.split()), field_docstrings(TrainConfig)
    for field in fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')} " in helped
        assert docstrings[field.name].endswith((".", ".)")), field.name
        if field.name not in ("method", *ELSEWHERE, *OWN):
            assert "".join(first_sentence(docstrings[field.name]).split()) in together
    assert all("".join(f"{method.name}({method.about})".split()) in together for method in METHODS.values())
    for name, owners in (("gamma", "UnDIAL"), ("variant", "UnDIAL,RMU"), ("focus", "UnDIAL")):
        assert f"{owners}:{docstrings[name][0].lower()}" in together


def test_first_sentences():
    assert first_sentence("Stop after `n` steps, e.g. 5. The rate falls.") == "Stop after n steps, e.g. 5."
    assert first_sentence("Layers to train. By default all.") == "Layers to train. By default all."


def test_help_imports_no_torch():
    code = "import sys, dissect.cli; print(sorted({'torch', 'yaml', 'numpy', 'transformer_lens'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_new_objective_is_one_loss_and_one_record(tiny_pair, facts, tmp_path):
    """Command line, checks, training with a reference and planning know it, with nothing else touched."""
    facts.write(tmp_path / "facts.jsonl")
    code = f"""
from dissect.unlearning.method_record import Method
from dissect.unlearning.methods import METHODS

def towards(tokens, beta):
    from dissect.unlearning.losses import kl_rows
    return beta * kl_rows(tokens.logits, tokens.reference)

METHODS["towards"] = Method(name="towards", label="Towards", about="KL to the reference", equation="KL", source="here",
                            loss=towards, reference="distributions", beta=2.0)
from dissect.cli import main
assert main(["unlearn", "--help"]) == 0
assert main(["unlearn", {str(tiny_pair("llama")[1])!r}, "--forget", "facts.jsonl", "--out", "out", "-q", "--lr", "1e-2",
             "--method", "towards", "--teacher", {str(tiny_pair("llama")[0])!r}, "--epochs", "20"]) == 0
assert main(["unlearn", "x", "--forget", "facts.jsonl", "--out", "o", "--method", "towards", "--gamma", "3"]) == 2
assert main(["plan", "out", "--train", "--method", "towards", "--reference", "live"]) == 0
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "towards (KL to the reference)" in " ".join(done.stdout.split()) and "Towards 2" in done.stdout
    assert "belongs to method undial and does nothing with 'towards'" in done.stderr
    (losses,) = (line for line in done.stdout.splitlines() if line.startswith("steps 20"))
    first, last = losses.split("loss ")[1].split(" to ")
    assert float(last) < 0.2 * float(first)
