"""`dissect.verdict` and its command on the demo's checkpoints."""

import json

import numpy as np
import pytest

import dissect
from dissect.cli import main
from dissect.errors import DissectError
from dissect.pairing.asking import Asking
from dissect.verdicts import panel as panel_module
from dissect.verdicts.answering import answered
from dissect.verdicts.result import Verdicts


@pytest.fixture(scope="module")
def facts(demo):
    return {name: dissect.Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain")}


@pytest.fixture(scope="module")
def verdicts(demo, facts):
    names = ("base", "npo", "undial")
    return dissect.verdict(
        [demo / name for name in names], retrained=demo / "retrained", **facts, attacks="quick", progress=False
    )


def test_words_and_numbers(verdicts, facts):
    assert [each.name for each in verdicts] == ["npo", "undial"]
    assert verdicts.base["forced_choice"]["value"] > 0.95
    assert {group["name"] for group in verdicts.groups} == {fact.extra["attribute"] for fact in facts["forget"]}
    for each in (*verdicts, verdicts.retrained):
        assert each.headline and each.words and each.attacks[0].name == "as_asked"
        assert 0 <= each.attacks[0].forced_choice <= 1
    assert verdicts.retrained.verdict not in ("suppressed", "traces left", "not forgotten")
    assert verdicts.retrained.kept.value > 0.8
    assert "spec" in verdicts.to_dict() and verdicts.spec["lines"]["ALPHA"] == 0.01


def test_the_base_model_itself_is_not_forgotten(demo, facts):
    (itself,) = dissect.verdict(
        {"same": demo / "base"}, base=demo / "base", **facts, attacks="as_asked", progress=False
    )
    assert itself.verdict == "not forgotten" and itself.share_left.value == 1.0 and itself.kept.value == 1.0


def test_a_pair_says_the_same(demo, facts, verdicts):
    pair = dissect.load_pair(demo / "base", demo / "npo", progress=False)
    (alone,) = dissect.verdict(pair, **facts, attacks="as_asked", progress=False)
    assert alone.name == "npo"
    assert alone.attacks[0].forced_choice == verdicts["npo"].attacks[0].forced_choice


def test_by_fact(verdicts, facts):
    table = verdicts.by_fact("npo")
    assert sorted(table.index) == list(range(len(facts["forget"])))
    row = verdicts["npo"].attacks[0]
    assert table["as_asked"].mean() == pytest.approx(row.forced_choice, abs=1e-3)
    assert verdicts.by_fact("retrained").shape[0] == len(table)


def test_saved_and_read_back(verdicts, tmp_path):
    path = verdicts.save(tmp_path / "verdict.json")
    content = json.loads(path.read_text())
    assert content["format"] == 1
    for each in (*content["checkpoints"], content["retrained"]):
        assert {"name", "verdict", "share_left", "p_adjusted", "kept", "attacks", "headline", "words"} <= set(each)
        assert all({"name", "forced_choice", "low", "high", "z", "p"} <= set(row) for row in each["attacks"])
        assert set(each["share_left"]) == set(each["kept"]) == {"value", "low", "high"}
    again = Verdicts.load(path)
    assert again.to_dict() == verdicts.to_dict()
    assert again.table().equals(verdicts.table())
    assert len(again.to_dataframe()) == 3 * len(again[0].attacks)
    assert "<table" in again._repr_html_() and "npo" in repr(again)
    assert again["undial"].name == "undial"
    with pytest.raises(DissectError, match="did you mean 'npo'"):
        again["npq"]
    for bad, said in (({"format": 2}, "format 2"), ([], "format None"), ({"format": 1}, "lacks")):
        path.write_text(json.dumps(bad))
        with pytest.raises(DissectError, match=said):
            Verdicts.load(path)
    path.write_text(json.dumps(content | {"checkpoints": [content["checkpoints"][0] | {"verdict": "fine"}]}))
    with pytest.raises(DissectError, match="'fine'"):
        Verdicts.load(path)
    with pytest.raises(DissectError, match=r"\.json"):
        verdicts.save(tmp_path / "verdict.txt")


def test_goes_on_where_it_was_interrupted(demo, facts, tmp_path, monkeypatch):
    out, made = tmp_path / "verdict.json", []
    whole = panel_module.Bench.measure

    def measure(self, name, source, part):
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append((name, part))
        return whole(self, name, source, part)

    monkeypatch.setattr(panel_module.Bench, "measure", measure)
    call = dict(**facts, base=demo / "base", attacks="as_asked", progress=False, out=out)
    with pytest.raises(KeyboardInterrupt):
        dissect.verdict([demo / "npo", demo / "undial"], **call)
    assert not out.exists() and len(made) == 4
    first, made[:] = list(made), []
    verdicts = dissect.verdict([demo / "npo", demo / "undial"], **call)
    assert len(made) == 2 and not set(made) & set(first)
    monkeypatch.undo()
    fresh = dissect.verdict([demo / "npo", demo / "undial"], **(call | {"out": None}))
    assert fresh.to_dict() == verdicts.to_dict() == Verdicts.load(out).to_dict()
    assert list(tmp_path.iterdir()) == [out]
    with pytest.raises(DissectError, match="exists"):
        dissect.verdict([demo / "npo"], **call)


def test_ranks_share_the_parts(demo, facts, tmp_path, as_ranks):
    out = tmp_path / "verdict.json"

    def rank(number: int) -> None:
        verdicts = dissect.verdict(
            [demo / "npo"], base=demo / "base", **facts, attacks="as_asked", progress=False, out=out
        )
        assert verdicts[0].name == "npo"

    assert as_ranks(2, rank) == [0, 0]
    assert Verdicts.load(out)["npo"].kept is not None


def test_answers_are_those_of_greedy_decoding(demo, facts):
    model = dissect.load(demo / "base", progress=False)
    held = answered(model, facts["forget"], Asking())
    said = facts["forget"].prompts(model, answers="base", progress=False)
    by_hand = [
        fact.answer.casefold() in text.casefold() for fact, text in zip(said.facts, said.answer_texts, strict=True)
    ]
    assert held.tolist() == np.array(by_hand, dtype=float).tolist()
    assert held.mean() > 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attacks": ["as_askd"]}, "no attack 'as_askd'"),
        ({"options": {"as_asked.steps": 3}}, "no option"),
        ({"template": "no question"}, "question"),
        ({"answers": "mine"}, "gold or base"),
        ({"out": "verdict.txt"}, r"\.json"),
        ({"base": None}, "no base model"),
        ({"forget": 3}, "forget must be Facts"),
        ({"forget": dissect.Facts([dissect.Fact(text="All.")])}, "no answer can be told from another"),
    ],
)
def test_mistakes_are_found_before_any_work(demo, facts, change, said):
    with pytest.raises(DissectError, match=said):
        dissect.verdict(demo / "npo", **({"base": demo / "base", "progress": False} | facts | change))


def test_without_retain_nothing_is_erased(demo, facts):
    (alone,) = dissect.verdict(demo / "retrained", base=demo / "base", forget=facts["forget"], progress=False)
    assert alone.kept is None and alone.verdict == "cannot tell"
    assert "retained was not measured" in alone.words


def test_the_command(demo, tmp_path, capsys):
    out, figure = tmp_path / "v.json", tmp_path / "panel.html"
    command = [
        *("verdict", str(demo / "base"), str(demo / "undial"), str(demo / "npo"), "--quiet"),
        *("--forget", str(demo / "forget.jsonl"), "--retain", str(demo / "retain.jsonl"), "--attacks", "as_asked"),
    ]
    assert main([*command, "--out", str(out), "--figure", str(figure)]) == 0
    shown = capsys.readouterr().out
    assert "undial" in shown and "share left" in shown and f"saved {out}" in shown and figure.is_file()
    words = {each.verdict for each in Verdicts.load(out)}
    assert main([*command, "--fail-on", ",".join(words).replace(" ", "-")]) == 3
    assert main([*command, "--fail-on", "erased"]) == (3 if "erased" in words else 0)
    assert main([*command, "--fail-on", "supressed"]) == 2
    assert "did you mean 'suppressed'" in capsys.readouterr().err


def test_the_picture_shows_chance_base_and_everyone(verdicts):
    figure = dissect.plots.panel(verdicts)
    names = {trace.name for trace in figure.data}
    assert names == {"npo", "undial", "retrained"}
    lines = sorted(shape.x0 for shape in figure.layout.shapes)
    assert lines == sorted([0.5, verdicts.base["forced_choice"]["value"]])
    assert {trace.name for trace in dissect.plots.panel(verdicts, checkpoints=["npo"]).data} == {"npo"}
    with pytest.raises(DissectError, match="no checkpoint"):
        dissect.plots.panel(verdicts, checkpoints=["x"])
