"""The picker and the leaderboard in a browser: what they show is what is stored, and no text of a fact runs."""

import json
import re
from pathlib import Path

import pytest

import dissect
from dissect.autopsy.interactive.leaderboard import leaderboard_data, write_leaderboard
from dissect.autopsy.interactive.picker_data import own_wins, picker_data
from dissect.autopsy.page import Section, Table, Widget, page
from dissect.autopsy.picker.embed import document, embedded
from dissect.autopsy.results import Results
from dissect.verdicts.result import Verdicts
from tests.support.browser import act

EVIL = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\u202egnp.exe"
TENTH = "forget:9"

ACTS = """
  const one = name => document.querySelector(name), all = name => [...document.querySelectorAll(name)];
  const fire = (element, kind, more) => element.dispatchEvent(new Event(kind, {bubbles: true, ...more}));
  const listed = () => all(".facts [data-fact]").map(each => each.dataset.fact);
  const shot = () => ({
    question: one("#fact h3").textContent,
    says: Object.fromEntries(all("[data-says]").map(each => [each.dataset.says, each.textContent])),
    tokens: Object.fromEntries(all("[data-tokens]").map(row => [row.dataset.tokens,
      [...row.querySelectorAll("[data-value]")].map(each => Number(each.dataset.value))])),
    lens: Object.fromEntries(all("[data-lens]").map(each =>
      [each.dataset.lens, [Number(each.dataset.value), each.textContent]])),
    choice: Object.fromEntries(all("[data-choice]").map(each => [each.dataset.choice, Number(each.dataset.value)])),
    curve: all("[data-curve] circle").map(each =>
      [each.dataset.series, Number(each.dataset.x), Number(each.dataset.value)]),
    left: one("[data-name=left]") && Number(one("[data-name=left]").dataset.value),
  });
  const seen = {opened: shot(), before: listed()};
"""
PICKING = (
    ACTS
    + """
  one(`[data-fact="TENTH"]`).click();
  seen.tenth = shot();
  seen.address = location.hash;
  const tile = one("#fact .tokens [tabindex]");
  fire(tile, "mouseenter");
  seen.pointer = one(".pointer").textContent;
  seen.named = tile.getAttribute("aria-label");
  const [set, state, order] = all(".tools select");
  order.value = "number"; fire(order, "change");
  seen.inOrder = listed();
  one(".facts").dispatchEvent(new KeyboardEvent("keydown", {key: "Home", bubbles: true}));
  one(".facts").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowDown", bubbles: true}));
  seen.byKeys = one("[data-fact][aria-selected=true]").dataset.fact;
  state.value = "answered"; fire(state, "change");
  seen.answered = listed();
  state.value = "all"; set.value = "all"; fire(set, "change");
  seen.everything = listed().length;
  one("#fact-search").value = seen.tenth.question; fire(one("#fact-search"), "input");
  seen.found = listed();
  one("#fact-search").value = "no such words"; fire(one("#fact-search"), "input");
  seen.none = listed();
  const saved = [];
  HTMLAnchorElement.prototype.click = function () { saved.push(this.download); };
  all("#fact .buttons button").forEach(button => { if (!button.textContent.includes("PNG")) button.click(); });
  seen.saved = saved;
  seen.unlabelled = all("input, select").filter(each => !each.labels.length && !each.ariaLabel).length;
  seen.wide = document.documentElement.scrollWidth;
  return seen;
""".replace("TENTH", TENTH)
)


@pytest.fixture(scope="module")
def stored(demo: Path) -> Results:
    return Results.read(demo / "results")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_tenth_fact_is_shown_as_it_is_stored(width, demo, stored):
    console, seen = act(demo / "index.html", PICKING, width=width)
    assert console == []
    table = stored.facts
    fact = next(each for each in table.facts if (each["set"], each["number"]) == ("forget", 9))
    tenth, opened = seen["tenth"], seen["opened"]
    assert tenth["question"] == fact["question"] != opened["question"]
    assert tenth["says"] == {"expected": fact["expected"], **dict(zip(table.models, fact["said"], strict=True))}
    assert tenth["tokens"] == dict(zip(table.models, fact["p"], strict=True))
    for model, layers in zip(table.lens_models, fact["lens"], strict=True):
        for layer, tokens in enumerate(layers):
            value, text = tenth["lens"][f"{model}:{layer}"]
            assert value == tokens[0][0] / 1000 and float(text) == value
    scores = {
        f"{m}:{i}": v for m, row in zip(table.models, fact["choice"]["scores"], strict=True) for i, v in enumerate(row)
    }
    assert tenth["choice"] == scores
    data = picker_data(stored)
    mine = next(each for each in data["facts"] if (each["set"], each["number"]) == ("forget", 9))
    points = [
        [name, layer, value]
        for name, values in mine["curve"].items()
        for layer, value in zip(data["curves"][name], values, strict=True)
        if value is not None
    ]
    assert tenth["curve"] == points and len(points) > 5
    assert tenth["left"] == mine["left"]
    for part in ("tokens", "lens", "curve"):
        assert tenth[part] != opened[part]
    assert seen["address"] == f"#fact={TENTH}" or width == 390  # the frame has an address of its own
    assert all(f"{model} " in seen["pointer"] for model in table.models)
    assert "base " in seen["named"]


def test_the_list_is_searched_sorted_filtered_and_walked(demo, stored):
    _, seen = act(demo / "index.html", PICKING)
    forget = [f"forget:{each['number']}" for each in stored.facts.facts if each["set"] == "forget"]
    assert seen["inOrder"] == forget and sorted(seen["before"]) == sorted(forget) and seen["before"] != forget
    assert seen["byKeys"] == "forget:1"
    assert seen["everything"] == len(stored.facts.facts)
    assert TENTH in seen["found"] and len(seen["found"]) < 5 and seen["none"] == []
    answered = {
        f"forget:{each['number']}"
        for each in stored.facts.facts
        if each["set"] == "forget" and each["expected"].lower() in each["said"][1].lower()
    }
    assert set(seen["answered"]) == answered
    assert any(name.endswith(".svg") for name in seen["saved"]) and any(name.endswith(".csv") for name in seen["saved"])
    assert seen["unlabelled"] == 0 and seen["wide"] <= 1280


def test_an_address_opens_its_fact(demo, stored):
    _, seen = act(demo / "index.html", ACTS + "return seen;", fragment="#fact=retain:3")
    fact = next(each for each in stored.facts.facts if (each["set"], each["number"]) == ("retain", 3))
    assert seen["opened"]["question"] == fact["question"]


def test_the_leaderboard_sorts_filters_and_compares(demo, tmp_path):
    verdicts = Verdicts.load(demo / "verdict.json")
    out = write_leaderboard(verdicts, tmp_path / "board.html")
    console, seen = act(
        out,
        """
      const all = name => [...document.querySelectorAll(name)];
      const names = () => all("#leaderboard tbody tr").map(row => row.dataset.checkpoint), seen = {};
      const head = all("#leaderboard th[data-column]").find(each => each.textContent === "share left");
      seen.up = names(); head.click(); seen.down = names(); seen.sorted = head.getAttribute("aria-sort");
      all("#leaderboard input")[0].click(); all("#leaderboard input")[1].click();
      seen.beside = document.querySelector("#beside h3").textContent;
      const search = document.querySelector("#leaderboard-search");
      search.value = "npo"; search.dispatchEvent(new Event("input")); seen.filtered = names();
      seen.points = all("svg.chart path title").length;
      return seen;
    """,
    )
    left = {each.name: each.share_left.value for each in [*verdicts, verdicts.retrained]}
    assert console == [] and seen["up"] == sorted(left, key=left.get)
    assert seen["down"] == seen["up"][::-1] and seen["sorted"] == "descending"
    assert seen["beside"] == " beside ".join(seen["down"][:2]) and seen["filtered"] == ["npo"]
    rows = leaderboard_data(verdicts)["rows"]
    assert seen["points"] == sum(row["x"] is not None and row["y"] is not None for row in rows)
    npo = next(row for row in rows if row["name"] == "npo")
    assert npo["cells"][1] == "npo" and "lr " in npo["cells"][2]


def made(text: str, n: int = 2, layers: int = 2, tokens: int = 1) -> dict:
    """Data of a picker with a text everywhere."""
    fact = {
        "question": text, "prompt": text, "expected": text, "group": text, "subject": text, "said": [text, text],
        "tokens": [text] * tokens, "p": [[0.25] * tokens] * 2, "left": 0.5, "attacks": [0.5],
        "curve": {text: [0.5] * layers},
        "lens": [[[[251, 777, (7 * layer) % 50] for _ in range(tokens)] for layer in range(layers)]] * 2,
        "choice": {"answers": [text] * 20, "scores": [[-1.234] * 20] * 2},
    }  # fmt: skip
    sets = [("forget", number) for number in range(n)] + [("retain", number) for number in range(n)]
    return {
        "models": ["base", "unlearned"], "lensModels": ["base", "unlearned"], "vocabulary": [text] * 50,
        "attacks": [text], "attack": text, "curves": {text: list(range(layers))}, "thinned": text,
        "facts": [{**fact, "set": name, "number": number} for name, number in sets],
    }  # fmt: skip


def test_no_text_runs_wherever_it_comes_from(tmp_path):
    board = {
        "columns": [{"label": EVIL, "number": False}], "sort": 0, "x": EVIL, "y": EVIL,
        "rows": [
            {"name": EVIL, "word": EVIL, "cells": [EVIL], "x": 0.5, "y": 0.5, "intervals": {}, "detail": {EVIL: EVIL}}
        ],
    }  # fmt: skip
    parts = [EVIL, Widget("picker", made(EVIL)), Widget("leaderboard", board), Table([EVIL], [[EVIL]], stacked=True)]
    out = page(EVIL, [Section(EVIL, parts, question=EVIL)], tmp_path / "evil.html", lead=EVIL)
    script = """
      document.querySelectorAll("[data-fact]")[1].click();
      document.querySelector("#leaderboard input").click();
      await new Promise(done => setTimeout(done, 200));
      return {hacked: Boolean(window.hacked), images: document.images.length,
        bidi: document.body.innerText.includes("\\u202e"),
        scripts: document.scripts.length, shown: document.querySelector("#fact h3").textContent};
    """
    console, seen = act(out, script)
    assert console == [] and not seen["hacked"] and seen["images"] == 0 and not seen["bidi"]
    assert seen["shown"] == EVIL.replace("\u202e", "\\u202e")
    text = out.read_text(encoding="utf-8")
    assert "\u202e" not in text and "</script><script>window" not in text
    framed = tmp_path / "frame.html"
    framed.write_text(document("picker", made(EVIL), title=EVIL), encoding="utf-8")
    console, seen = act(framed, script.replace('document.querySelector("#leaderboard input").click();', ""))
    assert console == [] and not seen["hacked"] and seen["images"] == 0


def test_embedded_json_is_read_back_and_ends_no_script():
    content = {"a": [EVIL, 1.5, float("nan"), None, "\u2028"], "<!--": True}
    text = embedded(content)
    assert text.isascii() and not re.search("[<>&]", text)
    assert json.loads(text)["a"][1:4] == [1.5, None, None]


def test_400_facts_and_32_layers_are_small(tmp_path):
    data = made("Which of the two harbours was the last to be closed?", n=400, layers=32, tokens=6)
    out = page("t", [Section("h", [Widget("picker", data)])], tmp_path / "large.html")
    assert out.stat().st_size < 9e6  # beside 5 MB of plotly.js and the figures
    console, seen = act(out, "return {n: document.querySelectorAll('[data-fact]').length};")
    assert console == [] and seen["n"] == 400


def test_pickers_of_results_stand_in_frames(demo, stored):
    for result in (stored.activations, stored.evaluation, Verdicts.load(demo / "verdict.json")):
        picker = dissect.pick(result)
        assert "<script src" not in picker.html and picker._repr_html_().startswith("<iframe srcdoc=")
    with pytest.raises(dissect.DissectError, match="expected a Report, SweepResult, Evaluation or Verdicts, got int"):
        dissect.pick(3)


def test_a_sweep_is_picked_in_the_browser(stored, tmp_path):
    out = tmp_path / "sweep.html"
    out.write_text(dissect.pick(stored.activations).html, encoding="utf-8")
    console, seen = act(out, ACTS + "return seen;")
    assert console == [] and len(seen["before"]) == stored.activations.data.sizes["prompt"]
    values = stored.activations.recovery("krs").sel(prompt=0, component="mlp_post").values
    shown = [value for name, _, value in seen["opened"]["curve"] if name.endswith("(mlp_post)")]
    assert shown == [round(float(value), 4) for value in values]


def test_settings_of_other_methods_are_left_out(demo):
    rows = leaderboard_data(Verdicts.load(demo / "verdict.json"))["rows"]
    settings = {row["name"]: row["cells"][2] for row in rows}
    assert "gamma" in settings["undial"] and "lr" in settings["ga"]
    assert not any("gamma" in settings[name] for name in ("ga", "npo"))


def test_comparisons_count_ties_as_half():
    assert own_wins([1.0, 0.0, 1.0, 2.0]) == 0.5 and own_wins([1.0]) == 0.5


def test_the_panel_can_be_read_on_a_phone(demo):
    script = """const line = document.querySelector(".panel .row:not(.ends) .line").getBoundingClientRect();
        return {left: line.left, right: line.right, width: line.width};"""
    _, line = act(demo / "index.html", script, width=390)
    assert line["left"] >= 0 and line["right"] <= 390 and line["width"] > 200
