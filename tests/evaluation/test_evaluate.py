"""Many measures of many checkpoints: what is asked, refused, kept, continued and drawn."""

import importlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dissect
from dissect.cli import main
from dissect.data.variants import paraphrased
from dissect.errors import Undefined
from dissect.evaluation import evaluate as evaluating
from dissect.evaluation.evaluation_result import Evaluation, joined
from dissect.evaluation.scored_row import ScoredRow
from dissect.evaluation.sets import subjects
from dissect.evaluation.sources import named
from dissect.measures import measure as catalogue
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import FAMILIES, Measure, check_options, options
from dissect.measures.option import Option, number
from dissect.statistics.bootstrap import bootstrap

QUICK = ["exact_match", "answer_probability", "rouge_l", "extraction_strength"]


@pytest.fixture(scope="module")
def facts(demo: Path) -> dict[str, dissect.Facts]:
    return {name: dissect.Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain")}


@pytest.fixture(scope="module")
def found(demo: Path, facts) -> Evaluation:
    return dissect.evaluate(demo / "ga", **facts, base=demo / "base", measures=QUICK, n_examples=3, progress=False)


def test_every_measure_says_what_it_is():
    known = catalogue.available()
    assert len(known) >= 20
    for name, measure in known.items():
        assert measure.name == name and name.isidentifier()
        assert measure.family in FAMILIES and measure.knows in ("high", "low", "")
        assert len(measure.definition) > 30 and measure.label
        assert measure.sets


def test_the_base_model_knows_and_the_unlearned_one_does_not(found):
    assert found.names == ["base", "ga"]
    base, unlearned = found.get("base", "exact_match"), found.get("ga", "exact_match")
    assert base.value == 1 and unlearned.value < 0.5
    assert base.n == 18 and base.unit == "facts"
    assert unlearned.low <= unlearned.value <= unlearned.high
    assert found.get("base", "exact_match", "held_out").n == 36


def test_numbers_are_those_of_the_measure_alone(found, demo, facts):
    from dissect.reading.answers import reproduced

    model = dissect.load(demo / "ga", progress=False)
    hits = reproduced(model, facts["retain"].prompts(model)).double().numpy()
    row = found.get("ga", "exact_match", "retain")
    assert row.items == tuple(hits)
    assert row.value == hits.mean()


def test_what_is_not_defined_is_refused_by_name_and_the_rest_runs(demo, facts):
    result = dissect.evaluate(
        demo / "ga", forget=facts["forget"], measures=["exact_match", "uds", "perplexity", "cka"], progress=False
    )
    reasons = {refusal.measure: refusal.reason for refusal in result.refused}
    assert "retrained=" in reasons["uds"] or "base=" in reasons["uds"]
    assert "plain texts" in reasons["perplexity"]
    assert "base=" in reasons["cka"]
    assert result.get("ga", "exact_match").value < 1
    with pytest.raises(dissect.DissectError, match=r"uds of ga on forget: .*pass"):
        result.get("ga", "uds")


def test_a_measure_that_fails_for_another_reason_is_an_error(demo, facts, monkeypatch):
    def broken(examined):
        raise RuntimeError("a bug")

    measure = Measure(name="broken", label="b", definition="d", family="behaviour", compute=broken)
    monkeypatch.setattr(evaluating, "chosen_measures", lambda asked: [measure])
    with pytest.raises(RuntimeError, match="a bug"):
        dissect.evaluate(demo / "ga", forget=facts["forget"], progress=False)


def test_a_file_in_a_folder_of_measures_is_a_measure(monkeypatch):
    import sys
    import types

    module = types.ModuleType("dissect.measures.depth.uds")
    module.MEASURE = Measure(name="mine", label="m", definition="d", family="depth", compute=lambda s: Estimate(1.0, 1))
    monkeypatch.setitem(sys.modules, "dissect.measures.depth.uds", module)
    assert catalogue.get("mine").family == "depth"


def test_saved_and_read_back(found, tmp_path):
    path = found.save(tmp_path / "metrics.json")
    again = Evaluation.load(path)
    assert again.rows == found.rows and again.models == found.models and again.answers == found.answers
    content = json.loads(path.read_text())
    assert content["measures"]["exact_match"]["definition"]
    assert {"n", "low", "high", "value", "unit"} <= set(content["rows"][0])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(dissect.DissectError, match="another kind of file"):
        Evaluation.load(tmp_path / "other.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(dissect.DissectError, match="cannot be read"):
        Evaluation.load(tmp_path / "broken.json")


def test_undefined_numbers_survive_json(tmp_path):
    row = ScoredRow.of("m", "exact_match", "forget", Estimate(math.nan, 2, items=np.array([1.0, math.nan])))
    part = Evaluation(models=[{"name": "m"}], rows=[row], refused=[], answers=[], measures={}, spec={})
    again = Evaluation.load(part.save(tmp_path / "a.json")).rows[0]
    assert math.isnan(again.value) and again.items[0] == 1 and math.isnan(again.items[1])


def test_table_and_frame(found):
    table = found.table()
    assert list(table.columns) == ["measure", "set", "n", "base", "ga"]
    row = table[(table["measure"] == "exact match") & (table["set"] == "forget")].iloc[0]
    assert row["base"] == "1.0 (0.6 to 1.0)"  # six people: Wilson
    frame = found.to_dataframe()
    assert isinstance(frame, pd.DataFrame)
    assert frame.groupby(["model", "measure", "set"]).size().max() == 1


def test_paired_differences_are_narrower_than_intervals(found):
    change = found.difference("exact_match", "base", "ga", "retain")
    assert change.value == pytest.approx(1 - found.get("ga", "exact_match", "retain").value)
    assert change.low <= change.value <= change.high
    with pytest.raises(dissect.DissectError, match="no checkpoint 'gaa' \\(did you mean 'ga'"):
        found.difference("exact_match", "base", "gaa")


def test_an_interrupted_evaluation_goes_on(demo, facts, tmp_path, monkeypatch):
    out = tmp_path / "m.json"
    call = {**facts, "base": demo / "base", "measures": ["exact_match"], "out": out, "progress": False}
    real, calls = evaluating.measured, []

    def counting(examined, *args, **how):
        calls.append(examined.name)
        if examined.name == "ga":
            raise KeyboardInterrupt
        return real(examined, *args, **how)

    monkeypatch.setattr(evaluating, "measured", counting)
    with pytest.raises(KeyboardInterrupt):
        dissect.evaluate([demo / "ga"], **call)
    assert not out.exists() and calls == ["base", "ga"]
    monkeypatch.setattr(evaluating, "measured", lambda s, *a, **k: calls.append(s.name) or real(s, *a, **k))
    with pytest.raises(dissect.DissectError, match="begun with other"):
        dissect.evaluate([demo / "ga"], **(call | {"seed": 1}))
    result = dissect.evaluate([demo / "ga"], **call)
    assert calls == ["base", "ga", "ga"]
    assert out.exists() and not (tmp_path / "m.json.partial").exists()
    plain = dissect.evaluate([demo / "ga"], **(call | {"out": None}))
    assert plain.rows == result.rows


def test_the_base_models_own_answers(demo, facts):
    questions = dissect.Facts(dissect.Fact(question=fact.question) for fact in facts["forget"])
    result = dissect.evaluate(
        demo / "ga", forget=questions, base=demo / "base", answers="base", measures=["exact_match"], progress=False
    )
    assert result.get("base", "exact_match").value == 1
    assert result.answers[0]["expected"] == facts["forget"][0].answer
    with pytest.raises(dissect.DissectError, match="pass base="):
        dissect.evaluate(demo / "ga", forget=questions, answers="base")


def test_without_answers_measures_refuse(demo, facts):
    questions = dissect.Facts(dissect.Fact(question=fact.question) for fact in facts["forget"])
    result = dissect.evaluate(demo / "ga", forget=questions, measures=["exact_match"], progress=False)
    assert not result.rows and "answer" in result.refused[0].reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measures": ["exact_mach"]}, "did you mean 'exact_match'"),
        ({"measures": []}, "no measures"),
        ({"options": {"tau": 1}}, "measure.option"),
        ({"forget": [1]}, "must be Facts"),
        ({"template": "no"}, "question"),
        ({"out": "x.csv"}, "must end in .json"),
        ({"models": []}, "no checkpoint"),
        ({"models": [3]}, "must be a directory or a loaded model, got int"),
        ({"retain": dissect.Facts()}, "holds no facts"),
    ],
)
def test_mistakes_are_found_before_anything_runs(change, message, demo, facts):
    call = {"models": demo / "ga", "forget": facts["forget"], "progress": False} | change
    models = call.pop("models")
    with pytest.raises(dissect.DissectError, match=message):
        dissect.evaluate(models, **call)


def test_names():
    assert list(named(["runs/a/x", "runs/b/x"])) == ["a/x", "b/x"]
    assert list(named("runs/a")) == ["a"]
    assert list(named({"mine": "runs/a"})) == ["mine"]
    with pytest.raises(dissect.DissectError, match="two checkpoints"):
        named(["a", "a"])


def test_mean_of_leaves_out_what_is_undefined():
    found = mean_of(np.array([1.0, math.nan, 3.0]))
    assert found.value == 2 and found.n == 2 and math.isnan(found.low)
    assert found.with_interval(seed=3).low == bootstrap([np.array([1.0, 3.0])], seed=3)[0]
    with pytest.raises(Undefined, match="none of the facts"):
        mean_of(np.array([math.nan]))


def test_joined_answers_stand_side_by_side(found):
    row = next(row for row in found.answers if row["set"] == "forget")
    assert row["base"] == row["expected"] and "ga" in row
    assert joined([found]).answers == found.answers
    table = found.side_by_side("forget")
    assert list(table.columns) == ["set", "prompt", "expected", "base", "ga"]
    assert len(table) == 3 and (table["base"] == table["expected"]).all()
    assert set(found.side_by_side()["set"]) >= {"forget", "retain"}


def test_command(demo, tmp_path, capsys):
    out, figure, table = tmp_path / "m.json", tmp_path / "f.html", tmp_path / "t.csv"
    line = ["evaluate", str(demo / "ga"), "--base", str(demo / "base"), "--forget", str(demo / "forget.jsonl")]
    line += ["--retain", str(demo / "retain.jsonl"), "--measures", "exact_match,uds", "-q"]
    assert main([*line, "--out", str(out), "--figure", str(figure), "--table", str(table)]) == 0
    said = capsys.readouterr().out
    assert "exact match" in said and "not measured: uds" in said
    assert Evaluation.load(out).names == ["base", "ga"]
    assert len(pd.read_csv(table)) == len(Evaluation.load(out).rows)
    assert figure.stat().st_size > 1e6
    assert main([*line, "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*line, "--out", str(tmp_path / "n.json"), "--option", "tau=1"]) == 2
    assert "measure.option" in capsys.readouterr().err


def test_tradeoff_puts_the_best_corner_up_right(found):
    figure = dissect.plots.tradeoff(found)
    assert figure.layout.yaxis.autorange == "reversed"
    assert {trace.name for trace in figure.data} == {"base", "ga"}
    at = {trace.name: (trace.x[0], trace.y[0]) for trace in figure.data}
    assert at["base"] == (1, 1)
    with pytest.raises(dissect.DissectError, match="nothing to draw"):
        dissect.plots.tradeoff(found, utility="uds")


def test_facts_about_one_person_are_drawn_together(demo):
    """Four facts of a person that are right or wrong together count as one: the interval is that of the means."""
    forget = dissect.Facts.read(demo / "forget.jsonl")
    groups = subjects({"forget": forget, "paraphrased": paraphrased(forget)})
    people = [fact.extra["subject"] for fact in forget]
    assert len(set(groups["forget"])) == len(set(people)) < len(people)
    assert [len(set(people))] == [len(set(groups["paraphrased"]))] and len(groups["paraphrased"]) > len(people)
    found = dissect.evaluate({"ga": demo / "ga"}, forget=forget, measures="answer_probability", progress=False)
    for name in ("forget", "paraphrased"):
        row, drawn = found.get("ga", "answer_probability", name), found.subjects(name)
        assert drawn.tolist() == groups[name].tolist()
        means = np.array([np.array(row.items)[drawn == one].mean() for one in np.unique(drawn)])
        assert row.value == pytest.approx(np.mean(row.items)) and row.low < row.value < row.high
        expected = bootstrap([means], seed=0)
        assert (row.low, row.high) == pytest.approx(expected, abs=0.25 * (expected[1] - expected[0]))
    same = found.difference("answer_probability", "ga", "ga")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    alone = dissect.Facts([replace(fact, extra={}) for fact in forget])
    assert subjects({"forget": alone}) == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"relearning.stps": 3}, "did you mean 'steps'"),
        ({"relearning.lr": "fast"}, "lr='fast'"),
        ({"exact_match.k": 1}, "has no options"),
        ({"uds.tua": 0.1}, "there are uds.component, uds.tau"),
        ({"relearnin.lr": 1}, "did you mean 'relearning'"),
        ({"tau": 1}, "measure.option"),
    ],
)
def test_a_misspelt_option_is_refused_before_anything_runs(options, says, demo, facts):
    with pytest.raises(dissect.DissectError, match=re.escape(says)):
        dissect.evaluate("nowhere", forget=facts["forget"], options=options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"uds.tau": -1}, "uds.tau must be a number of nats of at least 0, got -1"),
        ({"logit_lens.head": "theirs"}, "logit_lens.head must be one of base, own, got 'theirs'"),
        ({"tuned_lens.texts": "one text"}, "tuned_lens.texts must be a list of texts"),
        ({"cka.max_tokens": True}, "cka.max_tokens must be a whole number of at least 1, got True"),
    ],
)
def test_a_value_that_an_option_does_not_accept_is_refused_before_anything_runs(options, says, facts):
    with pytest.raises(dissect.DissectError, match=re.escape(says)):
        dissect.evaluate("nowhere", forget=facts["forget"], options=options)


def test_every_option_of_a_module_is_declared_by_its_measures():
    declared = options()
    for path in Path(catalogue.__file__).parent.glob("*/*.py"):
        module = importlib.import_module(f"dissect.measures.{path.parent.name}.{path.stem}")
        for option in vars(module).values():
            if isinstance(option, Option):
                assert declared[option.name] is option
    assert len(declared) > 40
    for option in declared.values():
        assert option.of({}) == option.default and option.about.endswith(".")
        if option.default is not None:
            option.check(option.default)
    check_options({"relearning.lr": 1e-5, "relearning.steps": 3, "relearning.preset": "x"})


def test_a_measure_with_an_option_needs_nothing_else(monkeypatch, demo, facts):
    """One file: the option is found, checked, listed, and its default is what the measure reads."""
    import sys
    import types

    def share(examined: Examined) -> Estimate:
        return mean_of(np.full(len(examined.facts), examined.option(LEVEL)))

    LEVEL = number("mine.level", 0.25, "Level.", "a share", lambda value: 0 <= value <= 1)
    module = types.ModuleType("dissect.measures.depth.uds")
    module.MEASURE = Measure(
        name="mine", label="m", definition="d", family="depth", compute=share, options=(LEVEL,), sets=("forget",)
    )
    monkeypatch.setitem(sys.modules, "dissect.measures.depth.uds", module)
    how = {"forget": facts["forget"], "measures": ["mine"], "n_examples": 0, "progress": False}
    assert dissect.evaluate(demo / "ga", **how).get("ga", "mine").value == 0.25
    assert dissect.evaluate(demo / "ga", **how, options={"mine.level": 0.5}).get("ga", "mine").value == 0.5
    for wrong, says in (({"mine.level": 2}, "must be a share, got 2"), ({"mine.lvel": 1}, "did you mean 'level'")):
        with pytest.raises(dissect.DissectError, match=says):
            dissect.evaluate(demo / "ga", **how, options=wrong)


def test_former_keywords_name_the_new_one(facts):
    with pytest.raises(dissect.DissectError, match="'retain_model': it is now called 'retrained'"):
        dissect.evaluate("nowhere", forget=facts["forget"], retain_model="x")
