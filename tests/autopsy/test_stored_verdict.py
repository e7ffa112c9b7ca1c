"""A stored verdict is taken where it fits, and the panel runs where it does not; how long a report takes; --quick."""

import shutil

import pytest

import dissect
from dissect.autopsy import steps as work
from dissect.autopsy.report import check_settings
from dissect.autopsy.settings import QUICK
from dissect.autopsy.time_estimate import in_words, time_estimate
from dissect.verdicts.result import Verdicts
from tests.conftest import TINY


@pytest.fixture
def given(demo):
    facts = {name: dissect.Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain_unseen")}
    pair = dissect.load_pair(demo / "base", demo / "ga", retrained=demo / "retrained", progress=False)
    texts = dissect.Facts.from_dataset([{"text": text} for text in world_texts()])
    return pair, {"forget": facts["forget"], "retain": facts["retain_unseen"], "texts": texts}


def world_texts():
    return dissect.World.make(TINY.n_people, TINY.n_attributes, seed=TINY.seed).filler()


def test_the_verdict_beside_the_page_is_taken(given, demo, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "verdict", lambda *a, **k: pytest.fail("the panel ran again"))
    pair, facts = given
    shutil.copy(demo / "verdict.json", tmp_path)
    settings = {"steps": ("verdict",), "attacks": TINY.attacks, "seed": TINY.seed, "progress": False}
    made = dissect.report(pair, **facts, out=tmp_path / "page.html", **settings)
    stored = Verdicts.load(demo / "verdict.json")["ga"]
    assert made.verdict.verdict == stored.verdict and made.verdict.share_left == stored.share_left
    assert made.verdict.name == "unlearned" and stored.words in repr(made)
    del settings["progress"]
    estimate = time_estimate(pair, facts, check_settings(settings), verdict=tmp_path / "verdict.json")
    assert estimate == {"verdict": 0.0}


def test_a_verdict_on_something_else_is_refused_by_name(given, demo, tmp_path):
    pair, facts = given
    other = {**facts, "forget": facts["forget"][:4]}
    with pytest.raises(dissect.DissectError, match="no such verdict"):
        dissect.report(pair, **other, out=tmp_path / "page.html", verdict=tmp_path / "none.json")
    made = dissect.report(
        pair, **other, out=tmp_path / "page.html", verdict=demo / "verdict.json", steps=("verdict",), progress=False
    )
    assert "is no verdict on this pair" in made.results.missing["verdict"]


def test_quick_settings_give_way_to_those_given():
    assert check_settings({"quick": True}).max_facts == QUICK["max_facts"]
    assert check_settings({"quick": True, "max_facts": 7}).max_facts == 7
    assert check_settings({"quick": False}).steps is None


def test_every_step_has_an_estimate(given):
    pair, facts = given
    seconds = time_estimate(pair, facts, check_settings({}))
    assert set(seconds) == set(work.STEPS) and all(value >= 0 for value in seconds.values())
    assert seconds["verdict"] > seconds["lens"]
    assert in_words({"verdict": 7200.0, "lens": 0.1}) == "This takes about 2.0 h: verdict 2.0 h."
