"""Questions of one's own: what is said is what the models say, also with parts of the base model put in."""

import numpy as np
import pytest

import dissect
from dissect.autopsy.asking.explorer import chosen
from dissect.cli import main
from dissect.reading.answers import say
from dissect.reading.token_scores import token_scores

EVIL = "<script>alert(1)</script>\u202e"


@pytest.fixture(scope="module")
def pair(demo):
    return dissect.load_pair(demo / "base", demo / "npo", retrained=demo / "retrained", progress=False)


@pytest.fixture(scope="module")
def fact(demo):
    return dissect.Facts.read(demo / "forget.jsonl")[0]


def test_answers_are_the_models_own_with_the_probability_of_each_token(pair, fact):
    asked = dissect.ask(pair, fact.question)
    prompts = dissect.Facts([fact]).prompts(pair.base, progress=False)
    for role, model in pair.models().items():
        assert asked[role].text == say(model, prompts, max_new_tokens=30)[0].said
    if asked["base"].text == fact.answer:
        scores = token_scores(pair.unlearned, prompts)
        own = [token.p["unlearned"] for token in asked["base"].tokens]
        assert own == pytest.approx(np.exp(scores.logprob).tolist(), rel=1e-4)
    with pytest.raises(KeyError):
        asked["changed"]


def test_all_of_the_base_model_put_in_says_what_it_says(pair, fact):
    base = dissect.ask(pair, fact.question)["base"].text
    whole = ["block", "embed", "ln_final", "unembed"]
    assert dissect.ask(pair, fact.question, restore=whole)["changed"].text == base
    last = pair.base.cfg.n_layers - 1
    with dissect.restored(pair.unlearned, pair.base, blocks=["ln_final", "unembed"]):
        assert dissect.ask(pair, fact.question, patch="resid_post", layers=[last])["changed"].text == base


def test_mistakes_are_named(pair, fact):
    for message, settings in (
        ("choose one", {"restore": ["mlp"], "patch": ["mlp_post"]}),
        ("no site 'mlp_pots'", {"patch": ["mlp_pots"]}),
        ("no layer 99", {"patch": ["mlp_post"], "layers": [99]}),
    ):
        with pytest.raises(dissect.DissectError, match=message):
            dissect.ask(pair, fact.question, **settings)
    with pytest.raises(dissect.DissectError, match="the question is empty"):
        dissect.ask(pair, " ")
    with pytest.raises(dissect.DissectError, match="expected a pair"):
        dissect.explore("runs/demo")


def test_what_is_shown_cannot_run(pair):
    asked = dissect.explore(pair)(f"Who? {EVIL}")
    html = asked._repr_html_()
    assert "<script" not in html and "\u202e" not in html and "&lt;script" in html
    assert "ModelPair" in pair._repr_html_() and "dissect.explore" in pair._repr_html_()


def test_the_form_names_what_it_puts_in():
    assert chosen("nothing", 0, 3) == {}
    assert chosen("patch mlp_post", 1, 2) == {"patch": ["mlp_post"], "layers": range(1, 3)}


def test_the_command_says_it(demo, fact, capsys):
    line = ["ask", str(demo / "base"), str(demo / "npo"), fact.question, "--restore", "mlp", "--layers", "0,1", "-q"]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert said.startswith(fact.question) and "unlearned" in said and "changed" in said
    assert main(["ask", str(demo / "base"), str(demo / "npo"), "Who?", "--layers", "x"]) == 2
