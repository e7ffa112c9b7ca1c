"""A run is checked as it goes: what is still answered, when it ends, which weights are kept, which rate it takes."""

import json
import logging
import math

import pytest
import torch

import dissect
from dissect import cli
from dissect.reading.answers import reproduced
from dissect.reading.perplexity import perplexity
from dissect.unlearning.run import find_rate
from dissect.unlearning.run.best import best_of
from dissect.unlearning.run.checkup import Check, SetCheck
from dissect.unlearning.run.run_files import read_log
from tests.unlearning.test_training_runs import Interrupted, breaking, load, weights

RETAIN = dissect.Facts(
    [dissect.Fact(question=f"What does {name} paint?", answer=f"{name} paints {what}.") for name, what in
     (("Basil", "boats"), ("Lily", "stones"), ("Ada", "a red barn"), ("Omar", "nothing"))]
)  # fmt: skip
GRADUAL = {"method": "grad_diff", "retain": RETAIN, "lr": 3e-4, "epochs": 12, "batch_size": 1, "progress": False}


@pytest.fixture(scope="module")
def knowing(tiny_pair, facts, tmp_path_factory):
    """A checkpoint that was taught both sets."""
    out = tmp_path_factory.mktemp("knowing") / "base"
    model = load(tiny_pair("llama")[0])
    dissect.unlearn(model, forget=facts + RETAIN, method="learn", lr=3e-3, epochs=40, out=out, progress=False)
    return out


def test_a_check_is_what_the_model_answers(knowing, facts):
    model = load(knowing)
    run = dissect.unlearn(model, forget=facts, **{**GRADUAL, "epochs": 3})
    assert [check.step for check in run.checks] == [0, 3, 6, 9]
    for check, asked in ((run.checks[0], load(knowing)), (run.checks[-1], model)):
        for side, given in ((check.forget, facts), (check.retain, RETAIN)):
            prompts = given.prompts(asked)
            assert (side.given, side.of) == (int(reproduced(asked, prompts).sum()), len(given))
            lengths = prompts.answer_lengths.double()
            each = [math.log(perplexity(asked, prompts[[i]])) for i in range(len(prompts))]
            assert side.loss == pytest.approx(sum(each) / len(lengths), abs=1e-5)
    assert run.checks[0].forget.share == run.checks[0].retain.share == 1.0


def test_checks_change_no_bit_of_the_training(knowing, facts):
    from dissect.unlearning.run.prepare import prepare
    from dissect.unlearning.run.trainer import Trainer

    how = {key: value for key, value in GRADUAL.items() if key not in ("retain", "progress")}
    checked, plain = load(knowing), load(knowing)
    dissect.unlearn(checked, forget=facts, retain=RETAIN, progress=False, **how)
    ready = prepare(plain, facts, dissect.TrainConfig(**how), retain=RETAIN)
    assert Trainer(plain, ready.data, ready.config).run(progress=False) and plain.checkpoint
    assert all(torch.equal(a, b) for a, b in zip(checked.parameters(), plain.parameters(), strict=True))


def test_it_stops_by_what_is_answered(knowing, facts):
    free = dissect.unlearn(load(knowing), forget=facts, check_every=1, **GRADUAL)
    shares = [check.forget.share for check in free.checks]
    assert shares[0] == 1.0 and min(shares) <= 1 / 3
    stopped = dissect.unlearn(load(knowing), forget=facts, check_every=1, stop_forget=1 / 3, **GRADUAL)
    assert stopped.checks == free.checks[: len(stopped.checks)]
    assert stopped.checks[-1].forget.share <= 1 / 3 < min(check.forget.share for check in stopped.checks[:-1])
    assert "forget answers given, at or below 0.333" in stopped.records[-1]["stopped"]

    harsh = {**GRADUAL, "method": "ga", "retain": None, "monitor": RETAIN, "lr": 3e-3}
    ruined = dissect.unlearn(load(knowing), forget=facts, check_every=1, stop_retain=0.9, **harsh)
    assert ruined.checks[-1].kept(ruined.checks[0]) < 0.9 <= min(c.kept(ruined.checks[0]) for c in ruined.checks[:-1])
    assert "retained answers given, below 0.9 of the 4 before training" in ruined.records[-1]["stopped"]


def test_the_best_weights_are_those_of_their_step(knowing, facts, tmp_path):
    harsh = {**GRADUAL, "method": "ga", "retain": None, "monitor": RETAIN, "lr": 2e-3, "epochs": 6, "check_every": 1}
    kept = dissect.unlearn(load(knowing), forget=facts, keep="best", out=tmp_path / "kept", **harsh)
    best = best_of(kept.checks[:-1], None)
    assert kept.checks[-1] == best and 0 < best.step < len(kept.records)
    short = dissect.unlearn(load(knowing), forget=facts, max_steps=best.step, out=tmp_path / "short", **harsh)
    assert weights(tmp_path / "kept") == weights(tmp_path / "short")
    assert all(torch.equal(a, b) for a, b in zip(kept.model.parameters(), short.model.parameters(), strict=True))
    in_memory = dissect.unlearn(load(knowing), forget=facts, keep="best", **harsh)
    assert all(torch.equal(a, b) for a, b in zip(kept.model.parameters(), in_memory.model.parameters(), strict=True))
    again = dissect.unlearn(load(knowing), forget=facts, keep="best", out=tmp_path / "kept", reuse=True, **harsh)
    assert again.checks == kept.checks

    for at in (best.step + 1, len(kept.records)):
        with pytest.raises(Interrupted):
            dissect.unlearn(
                load(knowing), forget=facts, keep="best", out=tmp_path / "broken", callbacks=[breaking(at)],
                checkpoint_every=1, **harsh,
            )  # fmt: skip
    whole = dissect.unlearn(
        load(knowing), forget=facts, keep="best", out=tmp_path / "broken", checkpoint_every=1, **harsh
    )
    assert weights(tmp_path / "broken") == weights(tmp_path / "kept") and whole.checks == kept.checks
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "kept", "short"]


def test_the_rule_of_the_best():
    def check(step, forget, retain):
        return Check(step, SetCheck(forget, 10, 1.0), SetCheck(retain, 10, 1.0))

    checks = [check(0, 10, 10), check(1, 4, 10), check(2, 0, 8), check(3, 0, 8), check(4, 0, 2)]
    assert best_of(checks, None).step == 2  # 0.8 - 0 is more than 1.0 - 0.4, and the earlier of two equals
    assert best_of(checks, 0.9).step == 1
    assert best_of(checks[:1], None) is None


def test_a_found_rate_leaves_everything_as_it_was(knowing, facts, tmp_path, caplog):
    how = {**GRADUAL, "epochs": 3, "lr": "auto"}
    with caplog.at_level(logging.INFO, "dissect"):
        found = dissect.unlearn(load(knowing), forget=facts, out=tmp_path / "auto", **how)
    (event,) = [event for event in read_log(tmp_path / "auto" / "unlearning.jsonl") if event["event"] == "lr"]
    assert f"lr={event['lr']:g}, the highest of those tried" in caplog.text
    dissect.unlearn(load(knowing), forget=facts, out=tmp_path / "set", **{**how, "lr": event["lr"]})
    assert weights(tmp_path / "auto") == weights(tmp_path / "set")
    *harmless, last = event["tried"]
    assert event["lr"] == (last if last["retain"] <= find_rate.HARM else harmless[-1])["lr"]
    assert all(each["retain"] <= find_rate.HARM for each in harmless)
    assert found.records[0]["lr"] == event["lr"]

    with pytest.raises(Interrupted):
        dissect.unlearn(
            load(knowing), forget=facts, out=tmp_path / "cut", checkpoint_every=1, callbacks=[breaking(4)], **how
        )
    dissect.unlearn(load(knowing), forget=facts, out=tmp_path / "cut", checkpoint_every=1, **how)
    assert weights(tmp_path / "cut") == weights(tmp_path / "auto")


@pytest.mark.parametrize(
    ("lr", "said"), [(1e-9, "the run moved nothing"), (1e-1, "the run took retained facts with it")]
)
def test_it_warns_of_a_run_that_did_nothing_or_too_much(lr, said, knowing, facts, caplog):
    dissect.unlearn(load(knowing), forget=facts, **{**GRADUAL, "epochs": 2, "lr": lr})
    assert said in caplog.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr": "auto"}, "lr='auto' needs facts that are to be kept"),
        ({"stop_retain": 0.9}, "stop_retain needs facts that are to be kept"),
        ({"stop_forget": 1.5}, "stop_forget=1.5: must be between 0 and 1"),
        ({"keep": "first"}, "keep='first': choose from last, best"),
        ({"lr": "fast"}, "lr='fast': must be a positive number, or auto"),
    ],
)
def test_wrong_settings_are_refused(settings, said, knowing, facts):
    with pytest.raises(dissect.DissectError, match=said):
        dissect.unlearn(load(knowing), forget=facts, method="ga", progress=False, **settings)


def test_the_command_says_what_became_of_the_answers(knowing, facts, tmp_path, capsys):
    facts.write(tmp_path / "forget.jsonl")
    RETAIN.write(tmp_path / "retain.jsonl")
    line = ["unlearn", str(knowing), "--forget", str(tmp_path / "forget.jsonl"), "--out", str(tmp_path / "out"), "-q"]
    line += ["--retain", str(tmp_path / "retain.jsonl"), "--method", "grad_diff", "--epochs", "4"]
    assert cli.main([*line, "--lr", "auto", "--stop-forget", "0.1", "--stop-retain", "0.5", "--keep", "best"]) == 0
    run = read_log(tmp_path / "out" / "unlearning.jsonl")
    checks = [event for event in run if event["event"] in ("check", "kept")]
    first, last = checks[0], checks[-1]
    said = capsys.readouterr().out
    assert f"forget answers given {first['forget']['given']} to {last['forget']['given']} of 3" in said
    assert f"retain answers given {first['retain']['given']} to {last['retain']['given']} of 4" in said
    assert cli.main([*line, "--lr", "quick"]) == 2
    assert "--lr 'quick': must be a number, or auto" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "unlearning.jsonl").read_text().splitlines()[0])["config"]["lr"] == "auto"
