"""Runs as a whole: killed and continued, stopped, watched, refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import dissect
from dissect import cli
from dissect.unlearning.alternates import IDK
from dissect.unlearning.config.presets import PRESETS, preset
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.run.run_files import read_log

SETTINGS = {"method": "npo", "lr": 1e-2, "epochs": 6, "batch_size": 1, "accumulate": 2, "schedule": "cosine"}
RETAINED = dissect.Facts([dissect.Fact(question="Who paints?", answer="Basil does."), dissect.Fact(text="He swims.")])


def load(path, dtype="float32"):
    return dissect.load(path, dtype=dtype, progress=False)


def weights(path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(Path(path) / "model.safetensors").items()}


class Interrupted(Exception):
    pass


def breaking(at: int):
    def callback(model, record):
        if record["step"] == at:
            raise Interrupted

    return callback


@pytest.mark.parametrize(
    "extra",
    [
        {"retain": True},
        {"lora_rank": 2},
        {"blocks": ["mlp.W_out"], "neurons": [1, 2]},
        {"method": "undial", "reference_top_k": 5, "retain": True, "retain_loss": "kl"},
        {"dtype": "bfloat16", "gradient_checkpointing": True},
    ],
)
def test_an_interrupted_run_ends_with_the_same_bits(extra, tiny_pair, facts, tmp_path):
    base = tiny_pair("llama_tied")[0]
    dtype = extra.pop("dtype", "float32") if "dtype" in extra else "float32"
    how = {**SETTINGS, **extra, "checkpoint_every": 2, "progress": False, "forget": facts}
    how["retain"] = RETAINED if extra.get("retain") else None
    dissect.unlearn(load(base, dtype), out=tmp_path / "whole", **how)
    for at in (1, 5, 5, 8):
        with pytest.raises(Interrupted):
            dissect.unlearn(load(base, dtype), out=tmp_path / "broken", callbacks=[breaking(at)], **how)
        assert not (tmp_path / "broken").exists()
    run = dissect.unlearn(load(base, dtype), out=tmp_path / "broken", **how)
    assert weights(tmp_path / "whole") == weights(tmp_path / "broken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]
    logs = [read_log(tmp_path / name / "unlearning.jsonl") for name in ("whole", "broken")]
    steps = [[(e["step"], e["loss"], e["grad_norm"]) for e in log if e["event"] == "step"] for log in logs]
    assert steps[0] == steps[1] == [(r["step"], r["loss"], r["grad_norm"]) for r in run.records]
    assert len(steps[0]) == 12
    assert [event["event"] for event in logs[0]] == [event["event"] for event in logs[1]]


def test_a_killed_process_is_continued(tiny_pair, facts, tmp_path):
    """kill -9 in the middle of writing a state, and in the middle of a step."""
    base = tiny_pair("llama")[0]
    facts.write(tmp_path / "facts.jsonl")
    program = f"""
import os, signal, sys
import dissect
from dissect.unlearning.run import run_files
at, where = int(sys.argv[1]), sys.argv[2]
def die(model, record):
    if where == "step" and record["step"] == at: os.kill(os.getpid(), signal.SIGKILL)
whole = run_files.save_file
def half(tensors, path, metadata):
    whole(tensors, path, metadata=metadata)
    if where == "state" and int(metadata["step"]) >= at:
        with open(path, "r+b") as file: file.truncate(100)
        os.kill(os.getpid(), signal.SIGKILL)
run_files.save_file = half
dissect.unlearn(dissect.load({str(base)!r}, progress=False), forget=dissect.Facts.read("facts.jsonl"),
    out="out", checkpoint_every=2, callbacks=[die], progress=False, **{SETTINGS!r})
"""
    killed = []
    for at, where in ((4, "state"), (6, "step"), (99, "none")):
        done = subprocess.run([sys.executable, "-c", program, str(at), where], cwd=tmp_path, capture_output=True)
        killed.append(done.returncode)
    assert killed == [-signal.SIGKILL, -signal.SIGKILL, 0], done.stderr.decode()
    dissect.unlearn(load(base), forget=facts, out=tmp_path / "whole", progress=False, **SETTINGS)
    assert weights(tmp_path / "whole") == weights(tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()


def test_killed_after_writing_and_before_tidying_up(tiny_pair, facts, tmp_path, monkeypatch):
    from dissect.unlearning.run.run_files import RunFiles

    base, out = tiny_pair("llama")[0], tmp_path / "out"
    remove = RunFiles.remove
    monkeypatch.setattr(RunFiles, "remove", lambda self: None)
    dissect.unlearn(load(base), forget=facts, out=out, progress=False, **SETTINGS)
    monkeypatch.setattr(RunFiles, "remove", remove)
    before = weights(out)
    dissect.unlearn(load(base), forget=facts, out=out, progress=False, **SETTINGS)
    assert weights(out) == before
    assert not (tmp_path / "out.partial").exists()
    with pytest.raises(dissect.DissectError, match="exists and is not empty"):
        dissect.unlearn(load(base), forget=facts, out=out, progress=False, **SETTINGS)
    again = dissect.unlearn(load(base), forget=facts, out=out, progress=False, reuse=True, **SETTINGS)
    assert again.records[-1]["step"] == 12


def test_another_run_in_the_way_is_refused(tiny_pair, facts, tmp_path):
    base, out = tiny_pair("llama")[0], tmp_path / "out"
    how = {"forget": facts, "out": out, "checkpoint_every": 1, "progress": False}
    with pytest.raises(Interrupted):
        dissect.unlearn(load(base), callbacks=[breaking(3)], **how, **SETTINGS)
    for other, said in (
        ({"lr": 1e-3}, "config: lr: 0.01 there, 0.001 here"),
        ({"seed": 1}, "config: seed: 0 there, 1 here"),
    ):
        with pytest.raises(dissect.DissectError, match=said):
            dissect.unlearn(load(base), **how, **{**SETTINGS, **other})
    assert (tmp_path / "out.partial" / "state.safetensors").is_file()
    run = dissect.unlearn(load(base), overwrite=True, **how, **{**SETTINGS, "lr": 1e-3})
    assert run.records[0]["lr"] == 1e-3
    assert len(run.records) == 12


def test_a_loss_that_is_no_number_leaves_the_last_good_model(tiny_pair, facts, tmp_path, monkeypatch):
    base, out = tiny_pair("llama")[0], tmp_path / "out"
    how = {"forget": facts, "out": out, "checkpoint_every": 2, "progress": False, "overwrite": True}

    def spoil(model, record):
        if record["step"] == 5:
            model.blocks[0].mlp.W_out.data[0, 0] = float("nan")

    with pytest.raises(dissect.DissectError, match=r"after 5 steps: lower lr.*after 4 steps is in .*last-good"):
        dissect.unlearn(load(base), callbacks=[spoil], **how, **SETTINGS)
    assert not out.exists()
    assert not (tmp_path / "out.partial").exists()
    good = load(tmp_path / "out.last-good")
    seen = {}

    def keep(model, record):
        if record["step"] == 4:
            seen.update({name: p.detach().clone() for name, p in model.named_parameters()})

    dissect.unlearn(load(base), callbacks=[keep], **how, **SETTINGS)
    assert all(torch.equal(p, seen[name]) for name, p in good.named_parameters())
    with pytest.raises(dissect.DissectError, match="no state was saved before"):
        dissect.unlearn(load(base), forget=facts, callbacks=[spoil], progress=False, **SETTINGS)


def test_a_last_step_that_ruins_the_weights_is_seen(tiny_pair, facts):
    def spoil(model, record):
        if record["step"] == 12:
            model.blocks[0].mlp.W_out.data[0, 0] = float("inf")

    with pytest.raises(dissect.DissectError, match="no state was saved"):
        dissect.unlearn(load(tiny_pair("llama")[0]), forget=facts, callbacks=[spoil], progress=False, **SETTINGS)


def test_a_run_is_cut_off_within_an_epoch(tiny_pair, facts):
    """The steps are those of the longer run; a falling learning rate falls over the steps that there are."""
    losses = {}
    for steps, epochs in ((None, 2), (4, 9), (9, 2)):
        model = load(tiny_pair("llama")[0])
        how = {"method": "learn", "batch_size": 1, "lr": 1e-3, "epochs": epochs, "progress": False}
        run = dissect.unlearn(model, forget=facts, max_steps=steps, **how)
        losses[steps] = [record["loss"] for record in run.records]
    assert losses[4] == losses[None][:4]
    assert losses[9] == losses[None]  # six are all there are
    cut = dissect.unlearn(
        load(tiny_pair("llama")[0]),
        forget=facts,
        max_steps=4,
        epochs=9,
        batch_size=1,
        schedule="linear",
        progress=False,
    )
    assert [record["lr"] for record in cut.records] == pytest.approx([1e-5, 7.5e-6, 5e-6, 2.5e-6])


def test_early_stops(tiny_pair, facts):
    base = tiny_pair("llama")[0]
    how = {"forget": facts, "method": "ga", "lr": 1e-3, "epochs": 50, "progress": False, "max_grad_norm": 100.0}
    free = dissect.unlearn(load(base), **how)
    threshold = free.records[10]["loss"]
    stopped = dissect.unlearn(load(base), stop_loss=threshold, **how)
    assert [r["loss"] for r in stopped.records] == [r["loss"] for r in free.records[:11]]
    assert "at or below" in stopped.records[-1]["stopped"]

    watched = dissect.unlearn(load(base), monitor=RETAINED, stop_perplexity_ratio=1.05, check_every=3, **how)
    assert "perplexity" in watched.records[-1]["stopped"]
    assert len(watched.records) < 50
    with pytest.raises(dissect.DissectError, match="needs texts"):
        dissect.unlearn(load(base), stop_perplexity_ratio=1.05, **how)


def test_stored_live_and_whole_references_are_one(tiny_pair, facts):
    """float64; with all tokens kept, the short form is the whole one, and it says so."""
    base = tiny_pair("llama")[0]
    losses = {}
    for name, how in {
        "stored": {},
        "live": {"reference": "live"},
        "all": {"reference_top_k": 1000},
        "few": {"reference_top_k": 4},
    }.items():
        for method in ("npo", "undial", "undial lora"):
            if name in ("all", "few") and method == "npo":
                continue
            run = dissect.unlearn(
                load(base, "float64"),
                forget=facts,
                retain=RETAINED,
                retain_loss="kl",
                method=method.split()[0],
                lora_rank=2 if "lora" in method else 0,
                lr=1e-2,
                epochs=4,
                progress=False,
                **how,
            )
            losses[name, method] = [record["loss"] for record in run.records]
    for method in ("npo", "undial", "undial lora"):
        assert losses["live", method] == pytest.approx(losses["stored", method], rel=1e-9)
    assert losses["all", "undial"] == pytest.approx(losses["stored", "undial"], rel=1e-9)
    assert losses["few", "undial"][-1] < losses["stored", "undial"][-1]


def test_the_log_says_how_exact_a_short_reference_is(tiny_pair, facts, tmp_path):
    found = {}
    for k in (2, 64, 320):
        out = tmp_path / str(k)
        dissect.unlearn(
            load(tiny_pair("llama")[0]), forget=facts, method="undial", reference_top_k=k, out=out, progress=False
        )
        events = {event["event"]: event for event in read_log(out / "unlearning.jsonl")}
        found[k] = events["reference"] | events["reference_audit"]
    assert 0 < found[64]["forget_tail_mass_max"] < found[2]["forget_tail_mass_max"] < 1
    assert found[2]["gradient_cosine_min"] < found[64]["gradient_cosine_min"] < 1
    assert found[320]["gradient_cosine_min"] == pytest.approx(1, abs=1e-6)
    assert found[2]["bytes"] < found[64]["bytes"]


def test_focus_weighs_its_spans(tiny_pair, facts):
    model = load(tiny_pair("llama")[0], "float64")
    prompts = facts.prompts(model)
    spans = {"Ada": ["London"], "Basil": ["baker"], "Lily": ["Lily", "swim"]}

    def of(fact):
        return next(words for name, words in spans.items() if name in str(fact.question))

    losses = {}
    for focus in ("none", "soft", "hard"):
        run = dissect.unlearn(
            load(tiny_pair("llama")[0], "float64"),
            forget=prompts,
            method="undial",
            focus=focus,
            focus_spans=None if focus == "none" else of,
            epochs=1,
            progress=False,
        )
        losses[focus] = run.records[0]["loss"]
    # a token in focus counts 10 times softly and once hard, the others once and not at all
    assert losses["soft"] == pytest.approx(losses["none"] + 9 * losses["hard"], rel=1e-9)
    assert 0 < losses["hard"] < losses["none"]
    with pytest.raises(dissect.DissectError, match="fact 0: its focus must be strings"):
        dissect.unlearn(model, forget=prompts, method="undial", focus="hard", progress=False)
    with pytest.raises(dissect.DissectError, match="does not contain 'Paris'"):
        dissect.unlearn(
            model, forget=prompts, method="undial", focus="hard", focus_spans=lambda f: ["Paris"], progress=False
        )


def test_dpo_prefers_the_answers_given(tiny_pair, facts):
    model = load(tiny_pair("llama")[0])
    from dissect.unlearning.alternates import alternates

    prompts = facts.prompts(model)
    drawn = alternates(prompts, model, seed=0)
    assert drawn.prompt_texts == prompts.prompt_texts
    assert {text.strip() for text in drawn.answer_texts} <= set(IDK)
    own = [dissect.Fact(question=f.question, answer=f.answer, extra={"alternate": "Nobody."}) for f in facts]
    assert set(alternates(dissect.Facts(own).prompts(model), model).answer_texts) == {" Nobody."}
    run = dissect.unlearn(
        model, forget=facts, method="dpo", alternate=["Nobody."] * 3, lr=1e-3, epochs=20, progress=False
    )
    assert run.records[-1]["loss"] < 0.2 * run.records[0]["loss"]


def test_data_may_change_on_the_fly(tiny_pair, facts):
    model = load(tiny_pair("llama")[0])
    seen = []

    def augment(prompts, rng):
        seen.append(rng.random())
        return facts.prompts(model, template="{question} Say:")[: len(prompts)]

    how = {"forget": facts, "method": "npo", "epochs": 2, "augment": augment, "progress": False}
    run = dissect.unlearn(model, reference="live", **how)
    assert len(run.records) == len(set(seen)) == 2
    with pytest.raises(dissect.DissectError, match="reference='live'"):
        dissect.unlearn(model, **how)


def test_unlearning_as_it_happens(tiny_pair, facts, tmp_path):
    base = load(tiny_pair("llama")[0])
    prompts = facts.prompts(base)

    def recovery(model):
        return dissect.patch(dissect.load_pair(base, model), prompts, ["mlp_post"], window=1, progress=False)

    def accuracy(model):
        return {"drift": float(dissect.load_pair(base, model).alignment.layers["relative_norm"].mean())}

    sweeps = dissect.Watch(recovery, every=2, folder=tmp_path / "sweeps", name="krs")
    numbers = dissect.Watch(accuracy, steps=[0, 3], name="drift")
    dissect.unlearn(
        load(tiny_pair("llama")[0]),
        forget=facts,
        method="ga",
        lr=1e-3,
        epochs=4,
        callbacks=[sweeps, numbers],
        out=tmp_path / "out",
        progress=False,
    )
    result = sweeps.result()
    assert result.recovery("krs").dims == ("component", "layer", "step", "prompt")
    assert list(result.data["step"].values) == [0, 2, 4]
    assert np.isnan(result.recovery("krs").sel(step=0)).all()  # nothing to recover yet
    last = dissect.patch(
        dissect.load_pair(base, load(tmp_path / "out")), prompts, ["mlp_post"], window=1, progress=False
    )
    np.testing.assert_allclose(result.recovery("krs").sel(step=4), last.recovery("krs"), atol=1e-6)
    figure = dissect.plots.heatmap(result, x="step", y="layer")
    assert np.asarray(figure.data[0].z).shape == (3, 3)
    again = dissect.Watch(recovery, every=2, folder=tmp_path / "sweeps", name="krs").result()
    assert again.data.equals(result.data)
    table = numbers.table()
    assert table.index.tolist() == [0, 3]
    assert table["drift"][0] == 0 < table["drift"][3]
    logged = [e for e in read_log(tmp_path / "out" / "unlearning.jsonl") if e["event"] == "watch"]
    assert {(e["name"], e["step"]) for e in logged} == {("krs", 0), ("krs", 2), ("krs", 4), ("drift", 0), ("drift", 3)}


def test_requests_in_turn_and_growing_sets(tiny_pair, facts, tmp_path):
    base = tiny_pair("llama")[0]
    requests = [facts[:1], facts[1:2], facts[2:]]
    how = {"method": "ga", "lr": 1e-3, "epochs": 2, "progress": False}
    turns = dissect.unlearn_requests(base, requests, out=tmp_path / "turns", **how)
    by_hand = load(tmp_path / "turns" / "1")
    dissect.unlearn(by_hand, forget=requests[1], out=tmp_path / "second", **how)
    assert weights(tmp_path / "second") == weights(tmp_path / "turns" / "2")
    growing = dissect.unlearn_requests(base, requests, kind="growing", out=tmp_path / "growing", **how)
    assert [len(run.records) for run in growing] == [2, 2, 2]
    assert weights(tmp_path / "growing" / "1") == weights(tmp_path / "turns" / "1")
    stamps = {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    again = dissect.unlearn_requests(base, requests, out=tmp_path / "turns", **how)
    assert [r.records[-1]["loss"] for r in again] == [r.records[-1]["loss"] for r in turns]
    assert stamps == {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("model.safetensors")}


def test_settings_as_yaml(tmp_path):
    for name in PRESETS:
        config = TrainConfig.preset(name, seed=3)
        assert config == TrainConfig(**preset(name), seed=3)
        assert TrainConfig.read(config.write(tmp_path / "config.yaml")) == config
    (tmp_path / "mine.yaml").write_text("preset: undial-1.3b-lora\nlr: 1e-4\n")
    found = TrainConfig.read(tmp_path / "mine.yaml")
    assert (found.lr, found.lora_rank, found.blocks, found.gamma) == (1e-4, 8, ("attn.W_Q", "attn.W_V"), 3.0)
    (tmp_path / "whole.yaml").write_text("method: undial\ngamma: 3\nepochs: 2\nstop_loss: 0\n")
    found = TrainConfig.read(tmp_path / "whole.yaml")
    assert list(map(repr, (found.gamma, found.epochs, found.stop_loss))) == ["3.0", "2", "0.0"]
    for text, said in (("lrr: 1", "did you mean 'lr'"), ("- a", "got list"), ("a: [", "cannot be read as YAML")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(dissect.DissectError, match=said):
            TrainConfig.read(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "nop"}, "method='nop' .did you mean 'npo'"),
        ({"method": "npo", "beta": 0.0}, "beta=0.0: must be a positive number"),
        ({"method": "npo", "beta": -1}, "beta=-1: must be a positive number"),
        ({"beta": 0.1}, "method 'ga' has no β"),
        ({"lr": "fast"}, "lr='fast': must be a positive number, or auto"),
        ({"epochs": 0}, "epochs=0: must be a whole number of at least 1"),
        ({"max_steps": 0}, "max_steps=0: must be a whole number of at least 1"),
        ({"accumulate": 1.5}, "accumulate=1.5"),
        ({"method": "npo", "retain_loss": "kl"}, "needs retained facts"),
        ({"method": "grad_diff"}, "needs retained facts"),
        ({"retain": RETAINED}, "use method='grad_diff'"),
        ({"retain_loss": "nll"}, "use method='grad_diff'"),
        ({"focus": "soft"}, "belongs to method undial"),
        ({"method": "undial", "gamma": -1.0}, "gamma=-1.0: must be 0 or more"),
        ({"reference_top_k": 5}, "stores no distributions"),
        ({"method": "undial", "reference": "live", "reference_top_k": 5}, "leave it out with reference='live'"),
        ({"learning_rate": 1.0}, "no setting 'learning_rate'"),
        ({"alternate": ["a", "b", "c"]}, "for method dpo"),
        ({"method": "dpo", "alternate": ["a"]}, "1 alternate answers for 3"),
        ({"preset": "tofu-np"}, "did you mean 'tofu-npo'"),
        ({"save": "adapter", "out": "x"}, "needs adapters"),
        ({"stop_perplexity_ratio": 0.0}, "must be a positive number"),
        ({"save": "both", "out": "x"}, "choose from merged, adapter"),
        ({"save": "adapter"}, "needs adapters"),
        ({"out": "."}, "must be a new directory"),
        ({"seed": "x"}, "seed='x': must be a whole number"),
        ({"stop_loss": float("nan")}, "must be a finite number"),
        ({"method": "simnpo", "delta": "x"}, "delta='x': must be a finite number"),
        ({"layers": 1.5}, "must be one or more numbers from 0 on"),
        ({"blocks": [3]}, "no parameter block 3"),
        ({"gamma": 3.0}, "belongs to method undial"),
        ({"lora_alpha": 3.0}, "belongs to lora_rank"),
        ({"gradient_checkpointing": "no"}, "must be true or false"),
        ({"method": "dpo", "alternate": "no"}, "must be a list"),
        ({"method": "undial", "bf16_inplace": True, "heads": [0]}, "does not go with heads"),
    ],
)
def test_wrong_settings_are_refused_at_the_start(settings, said, tiny_pair, facts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = load(tiny_pair("llama")[0])
    with pytest.raises(dissect.DissectError, match=said) as caught:
        dissect.unlearn(model, forget=facts, progress=False, **settings)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_labels_that_score_nothing_are_refused(tiny_pair, facts):
    from dataclasses import replace

    model = load(tiny_pair("llama")[0])
    prompts = facts.prompts(model)
    blank = replace(prompts, answer_mask=torch.zeros_like(prompts.answer_mask))
    with pytest.raises(dissect.DissectError, match="forget: no token of fact 0 is scored"):
        dissect.unlearn(model, forget=blank, progress=False)
    with pytest.raises(dissect.DissectError, match="retain: no token of fact 0"):
        dissect.unlearn(model, forget=prompts, retain=blank, method="npo", progress=False)


def test_tensorboard_gets_every_number(tiny_pair, facts, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from dissect.unlearning.run.tensorboard import TensorBoard

    board = TensorBoard(tmp_path)
    run = dissect.unlearn(load(tiny_pair("llama")[0]), forget=facts, epochs=3, callbacks=[board], progress=False)
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in read.Scalars("loss")] == [1, 2, 3]
    assert [e.value for e in read.Scalars("loss")] == pytest.approx([r["loss"] for r in run.records], rel=1e-6)


def test_the_command_line(tiny_pair, facts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    base = str(tiny_pair("llama")[0])
    facts.write("forget.jsonl")
    RETAINED.write("retain.jsonl")
    Path("mine.yaml").write_text(yaml.safe_dump({"method": "undial", "lr": 1e-3, "epochs": 4}))
    line = ["unlearn", base, "--forget", "forget.jsonl", "-q", "--out"]
    assert cli.main([*line, "a", "--config", "mine.yaml", "--epochs", "2", "--retain", "retain.jsonl"]) == 0
    assert "steps 2, facts 3" in capsys.readouterr().out
    start = json.loads(Path("a/unlearning.jsonl").read_text().splitlines()[0])
    assert (start["config"]["method"], start["config"]["epochs"], start["config"]["retain_loss"]) == (
        "undial",
        2,
        "nll",
    )
    assert cli.main([*line, "b", "--lora-rank", "2", "--save", "adapter", "--method", "npo"]) == 0
    assert load("b").cfg.n_layers == 3
    capsys.readouterr()
    assert cli.main([*line, "b", "--lora-rank", "2", "--save", "adapter", "--method", "npo"]) == 0  # once is enough
    assert cli.main([*line, "c", "--preset", "tofu-ga", "--epochs", "1", "--dtype", "bfloat16"]) == 0
    capsys.readouterr()
    for extra, said in (
        (["a"], "exists and is not empty"),
        (["."], "which is read as"),
        (["d", "--method", "npo", "--beta", "0"], "beta=0.0: must be a positive number"),
        (["d", "--preset", "tofu"], "no preset 'tofu'"),
        (["d", "--config", "none.yaml"], "none.yaml cannot be read"),
        (["d", "--method", "grad_diff"], "needs retained facts"),
        (["d", "--layers", "9"], "no layer 9"),
        (["d", "--method", "undiall"], "'undiall' is not one of"),
    ):
        assert cli.main([*line, *extra]) == 2, extra
        said_here = capsys.readouterr().err
        assert said in said_here
        assert said_here.count("\n") == 1
    assert not Path("d").exists()
    assert not Path("d.partial").exists()


def test_one_process_at_a_time(tiny_pair, facts, tmp_path):
    base, out = tiny_pair("llama")[0], tmp_path / "out"
    how = {"forget": facts, "out": out, "progress": False, **SETTINGS}
    tried = []

    def meanwhile(model, record):
        if record["step"] == 3:
            with pytest.raises(dissect.DissectError, match="another process is working on"):
                dissect.unlearn(load(base), **how)
            tried.append(True)

    run = dissect.unlearn(load(base), callbacks=[meanwhile], **how)
    assert tried == [True]
    assert len(run.records) == 12


def test_a_state_is_written_without_copying_it(tmp_path, monkeypatch):
    """Matrices lie in memory transposed: written in the order of their own axes, all of them would be copied first."""
    from dissect.unlearning.run import run_files
    from dissect.unlearning.run.run_state import State

    matrix, heads = torch.arange(15.0).view(5, 3).T, torch.arange(48.0).view(4, 2, 6).permute(1, 2, 0)
    step = torch.tensor(3.0)
    written = {}

    def noted(tensors, *rest, **more):
        written.update({name: tensor.data_ptr() for name, tensor in tensors.items()})
        return original(tensors, *rest, **more)

    original = run_files.save_file
    monkeypatch.setattr(run_files, "save_file", noted)
    files = run_files.RunFiles(tmp_path / "run", {"config": {}}, overwrite=False)
    files.save(State(7, {"w": matrix, "h": heads}, {"w": {"exp_avg": matrix * 2, "step": step}}))
    assert written["leaf/w"] == matrix.data_ptr() and written["leaf/h"] == heads.data_ptr()
    state = files.load()
    assert state.step == 7 and state.leaves["w"].shape == (3, 5)
    assert torch.equal(state.leaves["w"], matrix) and torch.equal(state.leaves["h"], heads)
    assert torch.equal(state.optimizer["w"]["exp_avg"], matrix * 2) and state.optimizer["w"]["step"] == 3


def test_how_often_states_are_kept_changes_nothing(tiny_pair, facts, tmp_path):
    base = tiny_pair("llama")[0]
    how = {"forget": facts, "progress": False, **SETTINGS}
    with pytest.raises(Interrupted):
        dissect.unlearn(load(base), out=tmp_path / "a", checkpoint_every=2, callbacks=[breaking(5)], **how)
    dissect.unlearn(load(base), out=tmp_path / "a", checkpoint_every=50, **how)
    dissect.unlearn(load(base), out=tmp_path / "b", **how)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_damaged_files_of_a_run_are_named(tiny_pair, facts, tmp_path):
    base, out = tiny_pair("llama")[0], tmp_path / "out"
    how = {"forget": facts, "out": out, "progress": False, "checkpoint_every": 2, **SETTINGS}
    with pytest.raises(Interrupted):
        dissect.unlearn(load(base), callbacks=[breaking(5)], **how)
    for name in ("state.safetensors", "run.json"):
        (tmp_path / "out.partial" / name).write_text("{broken")
        with pytest.raises(dissect.DissectError, match=f"{name} is damaged.*delete"):
            dissect.unlearn(load(base), **how)


def test_what_a_kill_left_beside_the_checkpoint_is_removed(tiny_pair, facts, tmp_path):
    (tmp_path / ".out~dissect-abcd1234").mkdir()
    (tmp_path / ".out-settings").mkdir()
    dissect.unlearn(load(tiny_pair("llama")[0]), forget=facts, out=tmp_path / "out", epochs=1, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out-settings", "out"]


def test_a_large_reference_lies_on_disk_and_changes_nothing(tiny_pair, facts, tmp_path, monkeypatch):
    from dissect.unlearning.gradient import shelf

    for name, size in (("memory", 1 << 26), ("disk", 0)):
        monkeypatch.setattr(shelf, "IN_MEMORY", size)
        for dtype in ("float32", "bfloat16"):
            how = {"method": "undial", "retain": RETAINED, "retain_loss": "kl", "lr": 1e-3, "epochs": 3}
            model = load(tiny_pair("llama")[0], dtype)
            dissect.unlearn(model, forget=facts, out=tmp_path / name / dtype, progress=False, **how)
    for dtype in ("float32", "bfloat16"):
        assert weights(tmp_path / "memory" / dtype) == weights(tmp_path / "disk" / dtype)


def test_a_watch_takes_a_probe():
    with pytest.raises(dissect.DissectError, match="'measure': it is now called 'probe'"):
        dissect.Watch(measure=lambda model: {"x": 1.0}, every=1)
    with pytest.raises(dissect.DissectError, match="exactly one of every and steps"):
        dissect.Watch(lambda model: {"x": 1.0})
