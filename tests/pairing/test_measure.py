"""Forced choice as a measure of `evaluate`."""

import dissect


def test_among_the_measures(demo):
    names = ("base", "retrained", "npo")
    result = dissect.evaluate(
        {name: demo / name for name in names},
        forget=dissect.Facts.read(demo / "forget.jsonl"),
        measures=["forced_choice"],
        progress=False,
    )
    base, retrained, _ = (result.get(name, "forced_choice", "forget") for name in names)
    assert base.value > 0.95 and base.n == len(dissect.Facts.read(demo / "forget.jsonl"))
    assert retrained.low < 0.8 < base.value
    assert not result.has("base", "forced_choice", "retain")


def test_what_has_no_foils_is_refused_by_name(demo):
    facts = dissect.Facts([dissect.Fact(question="Where was Ada born?", answer="Varnholt")])
    result = dissect.evaluate(demo / "base", forget=facts, measures=["forced_choice"], progress=False)
    assert "no answer can be told from another" in result.refused[0].reason
