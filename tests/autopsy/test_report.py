"""The autopsy: models of which the truth is known, stored results, the page."""

import json
import re
import shutil
from pathlib import Path

import pytest

import dissect
from dissect.autopsy.report import Report, draw
from dissect.cli import main
from tests.autopsy.test_page import Tags
from tests.conftest import TINY
from tests.support import truths

STEPS = ("verdict", "evaluation", "smallest")
MEASURES = ("exact_match", "rouge_l_recall", "uds", "erasure_depth", "relearning")
EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def facts(demo: Path) -> dict[str, dissect.Facts]:
    return {name: dissect.Facts.read(demo / f"{file}.jsonl") for name, file in FILES.items()}


FILES = {"forget": "forget", "retain": "retain_unseen"}


def autopsy(base: Path, unlearned: Path, facts, out: Path, retrained: Path | None = None, **settings) -> Report:
    pair = dissect.load_pair(base, unlearned, retrained=retrained, progress=False)
    how = {"steps": STEPS, "measures": MEASURES, "attacks": TINY.attacks, "progress": False} | settings
    return dissect.report(pair, **facts, out=out / "report.html", **how)


def test_the_same_model_has_not_forgotten(demo, facts, tmp_path):
    found = autopsy(demo / "base", demo / "base", facts, tmp_path, attacks=("as_asked",))
    assert found.verdict.verdict == "not forgotten"
    assert "nothing to recover" in found.results.missing["smallest"]


@pytest.mark.parametrize("with_control", [False, True])
def test_nothing_is_found_in_a_model_that_never_heard_of_them(with_control, demo, facts, tmp_path):
    """The small world has too few people for "erased" to be certain; what matters is that nothing is found."""
    control = demo / "retrained" if with_control else None
    found = autopsy(demo / "base", demo / "retrained", facts, tmp_path, control, steps=("verdict",))
    assert found.verdict.verdict in ("erased", "cannot tell") and found.verdict.p_adjusted > 0.01
    assert (found.results.verdict.retrained is not None) == with_control


def test_turned_down_coefficients_are_found_and_it_says_where(demo, tmp_path):
    made, layer = truths.suppressed(demo, tmp_path / "made")
    forget, retain = truths.one_attribute(demo)
    found = autopsy(demo / "base", made, {"forget": forget, "retain": retain}, tmp_path)
    assert found.verdict.verdict in ("suppressed", "broken") and found.verdict.p_adjusted < 0.01
    assert found.results.smallest.members == [(layer, "mlp.W_in")]
    assert f"layer {layer} mlp.W_in" in found.path.read_text()


def test_a_ruined_model_is_broken_and_not_erased(demo, facts, tmp_path):
    steps = ("verdict",)
    found = autopsy(demo / "base", truths.broken(demo, tmp_path / "made"), facts, tmp_path, steps=steps)
    assert found.verdict.verdict == "broken"


def test_it_goes_on_where_it_was_and_draws_without_models(demo, facts, tmp_path, monkeypatch):
    from dissect.autopsy import steps as work

    first = autopsy(demo / "base", demo / "ga", facts, tmp_path, steps=("drift",))
    assert set(first.results.missing) >= {"evaluation", "activations"}
    page = first.path.read_text()
    assert "The evaluation is missing here: it was not computed." in page
    assert first.verdict is None
    monkeypatch.setattr(work, "drift", lambda *a, **k: pytest.fail("computed again"))
    second = autopsy(demo / "base", demo / "ga", facts, tmp_path, steps=("drift", "evaluation"))
    assert second.results.drift is not None and second.results.evaluation is not None
    shutil.copytree(tmp_path / "report.html.results", tmp_path / "moved")
    again = draw(tmp_path / "moved", tmp_path / "again.html")
    assert again.path.read_bytes() == second.path.read_bytes()
    with pytest.raises(dissect.DissectError, match="other checkpoints, facts or settings"):
        autopsy(demo / "base", demo / "npo", facts, tmp_path)


def test_text_of_facts_is_shown_and_not_run(demo, facts, tmp_path):
    evil = dissect.Facts(
        [dissect.Fact(question=f"{fact.question} {EVIL}", answer=fact.answer) for fact in facts["forget"]]
    )
    found = autopsy(
        demo / "base",
        demo / "ga",
        {"forget": evil},
        tmp_path,
        steps=("evaluation", "positions", "lens"),
        measures=("exact_match",),
        title=f"Evil {EVIL}",
    )
    text = found.path.read_text()
    assert EVIL not in text
    tags = Tags()
    tags.feed(text)
    assert EVIL in tags.text
    assert len([tag for tag, _ in tags.tags if tag == "script"]) == 1 + len(re.findall(r'id="figure-', text))


def test_the_whole_report_of_the_demo(demo):
    text = (demo / "index.html").read_text()
    assert len(text) < 15e6
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="http', text)
    for heading in ("What the models say", "What its states still hold", "Where the knowledge comes back"):
        assert f"<h3>{heading}</h3>" in text
    asked = ("Did it forget?", "Is it really gone?", "Where does it sit?", "What did it cost?", "How was it measured?")
    places = [text.index(f">{question}</h2>") for question in asked]
    assert places == sorted(places)
    assert "proves nothing by itself" in text and "Definitions of all measures" in text
    stored = {path.name for path in (demo / "results").iterdir()}
    assert stored == {
        "report.json",
        "verdict.json",
        "evaluation.json",
        "activations.nc",
        "parameters.nc",
        "smallest.json",
    } | {
        "positions.nc",
        "heads.nc",
        "lens.nc",
        "facts.json",
        "drift.nc",
    }
    about = json.loads((demo / "results" / "report.json").read_text())
    assert about["missing"] == {} and about["versions"]["dissect"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": ("evalation",)}, "no step 'evalation'"),
        ({"answers": "mine"}, "base or gold"),
        ({"max_facts": 0}, "max_facts"),
        ({"window": 2}, "window=2"),
        ({"measures": ("nosuch",)}, "no measure 'nosuch'"),
        ({"options": {"relearning.stps": 1}}, "did you mean 'steps'"),
        ({"windw": 3}, "no setting 'windw'"),
        ({"template": "x"}, "question"),
        ({"out": "page.pdf"}, "must end in .html"),
    ],
)
def test_mistakes(change, message, demo, facts, tmp_path):
    pair = dissect.load_pair(demo / "base", demo / "ga", progress=False)
    with pytest.raises(dissect.DissectError, match=message):
        dissect.report(pair, **facts, **{"out": tmp_path / "r.html", "progress": False, **change})
    assert not list(tmp_path.iterdir())
    with pytest.raises(dissect.DissectError, match="load_pair"):
        dissect.report(pair.base, **facts)


def test_command(demo, tmp_path, capsys):
    out = tmp_path / "r.html"
    line = ["report", str(demo / "base"), str(demo / "ga"), "--forget", str(demo / "forget.jsonl"), "--out", str(out)]
    assert main([*line, "--steps", "evaluation", "--measures", "exact_match", "-q"]) == 0
    assert f"saved {out}" in capsys.readouterr().out
    assert main(["report", "--from", f"{out}.results", "--out", str(tmp_path / "again.html")]) == 0
    assert main(["report", "--out", str(out)]) == 2
    assert "needs BASE, UNLEARNED and --forget" in capsys.readouterr().err
    assert main(["report", "--from", str(tmp_path), "--out", str(out)]) == 2
    assert "holds nothing of a report" in capsys.readouterr().err


def test_report_stays_a_function_whatever_of_its_room_is_imported():
    import inspect

    import dissect.autopsy.page

    assert inspect.isfunction(dissect.report) and "forget" in inspect.signature(dissect.report).parameters
    with pytest.raises(dissect.DissectError, match="did you mean 'forget'"):
        dissect.report(None, forgt=None)


def test_every_step_has_a_field_of_the_results_and_a_file_of_its_own():
    from dataclasses import fields

    from dissect.autopsy.results import Results
    from dissect.autopsy.steps import STEPS

    assert set(STEPS) == {field.name for field in fields(Results)} - {"about", "missing"}
    assert len({step.file for step in STEPS.values()}) == len(STEPS)
