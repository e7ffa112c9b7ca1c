"""Metrics on cases worked out by hand, and foils against the tokenizer."""

import math

import numpy as np
import pytest
import torch

from dissect.data.facts import Fact, Facts
from dissect.data.foils import NO_FOIL, check_foils, foil_targets
from dissect.errors import DissectError
from dissect.metrics import metric as metrics
from dissect.metrics.metric import Metric, Scored
from tests.support.tiny import make_tokenizer

# Two prompts over a vocabulary of four: the first with two scored positions, the second with one.
LOGITS = torch.tensor([[0.1, 0.2, 0.6, 0.1], [0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.4, 0.1]]).log()
TARGETS = torch.tensor([2, 1, 1])
ROWS = torch.tensor([0, 0, 1])
FOILS = torch.tensor([-100, 3, -100])


def per_prompt(metric: str | Metric, *, logits: torch.Tensor = LOGITS, **changed) -> list[float]:
    scored = Scored(logits=logits, reference=torch.zeros_like(logits), targets=TARGETS, **changed)
    return metrics.get(metric).per_prompt(scored, ROWS, 2).tolist()


def test_probability_is_the_geometric_mean():
    assert per_prompt("prob") == pytest.approx([math.sqrt(0.6 * 0.25), 0.25], abs=1e-6)
    assert per_prompt("prob") == pytest.approx(np.exp(per_prompt("logprob")).tolist())


def test_rank_counts_from_one_and_breaks_ties_like_greedy():
    # position 0: the most likely; position 1: second; position 2: third, the equally likely token 0 comes before it
    assert per_prompt("rank") == [1.5, 3.0]
    assert per_prompt("rank", logits=torch.zeros(3, 4)) == [2.5, 2.0]


def test_exact_wants_every_token():
    assert per_prompt("exact") == [0.0, 0.0]
    right = torch.nn.functional.one_hot(TARGETS, 4).float()
    assert per_prompt("exact", logits=right) == [1.0, 1.0]
    right[1] = right[1].roll(1)
    assert per_prompt("exact", logits=right) == [0.0, 1.0]


def test_logit_difference_is_taken_where_the_foil_parts():
    difference, none = per_prompt("logit_diff", foils=FOILS)
    assert difference == pytest.approx(math.log(0.25 / 0.125))
    assert math.isnan(none)
    shifted = per_prompt("logit_diff", logits=LOGITS + torch.tensor([[3.0], [-7.0], [1.0]]), foils=FOILS)
    assert shifted[0] == pytest.approx(difference, abs=1e-6)


def test_logit_difference_without_foils_is_refused():
    with pytest.raises(DissectError, match="'logit_diff' compares with a foil"):
        per_prompt("logit_diff")


def test_a_prompt_without_foil_leaves_the_gradient_of_the_others_alone():
    logits = LOGITS.clone().requires_grad_()
    scored = Scored(logits=logits, reference=LOGITS, targets=TARGETS, foils=FOILS)
    values = metrics.get("logit_diff").per_prompt(scored, ROWS, 2)
    values[values.isfinite()].sum().backward()
    expected = torch.zeros(3, 4)
    expected[1, 1], expected[1, 3] = 1, -1
    assert torch.equal(logits.grad, expected)


@pytest.mark.parametrize(
    ("name", "better", "smooth"),
    [
        ("krs", "lower", True),
        ("kl", "lower", True),
        ("logprob", "higher", True),
        ("prob", "higher", True),
        ("rank", "lower", False),
        ("logit_diff", "higher", True),
        ("exact", "higher", False),
    ],
)
def test_directions(name, better, smooth):
    found = metrics.get(name)
    assert (found.name, found.better, found.smooth) == (name, better, smooth)
    assert name in metrics.available()


def test_a_metric_of_ones_own():
    def entropy(scored: Scored) -> torch.Tensor:
        p = scored.logits.softmax(-1)
        return -(p * p.log()).sum(-1)

    mine = Metric(name="entropy", label="entropy", score=entropy, unit="nats")
    assert metrics.get(mine) is mine
    by_hand = [-(p * np.log(p)).sum() for p in LOGITS.double().exp().numpy()]
    assert per_prompt(mine) == pytest.approx([np.mean(by_hand[:2]), by_hand[2]], abs=1e-6)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"score": lambda scored: scored.logits}, r"gave \[3, 4\], expected a tensor of one number for each of 3"),
        ({"score": lambda scored: 1.0}, "gave float, expected a tensor"),
        ({"name": " "}, "a metric's name is ' '"),
    ],
)
def test_a_wrong_metric_is_refused(made, said):
    sound = {"name": "mine", "label": "mine", "score": lambda scored: scored.logits[:, 0]}
    with pytest.raises(DissectError, match=said):
        per_prompt(Metric(**{**sound, **made}))


@pytest.mark.parametrize(("field", "value"), [("better", "up"), ("reduction", "max")])
def test_a_wrong_word_is_refused(field, value):
    """Set afterwards: in the tests the type checker would be the first to refuse it."""
    metric = Metric(name="mine", label="mine", score=lambda scored: scored.logits[:, 0])
    object.__setattr__(metric, field, value)
    with pytest.raises(DissectError, match=f"{field}='{value}', choose from"):
        metric.__post_init__()


@pytest.mark.parametrize("bos", [True, False])
def test_foils_part_from_the_answer_where_the_whole_texts_do(bos):
    tokenizer = make_tokenizer(bos=bos)
    facts = Facts(
        [
            Fact(question="Where was Ada born?", answer="In London", extra={"perturbed": ["In Paris", "In Rome"]}),
            Fact(prompt="Lily likes", completion=" to swim.", extra={"foil": " to read.", "perturbed": [" to paint."]}),
            Fact(question="Who likes to swim?", answer="Lily"),
            Fact(question="Who likes to swim?", answer="Lily", extra={"foil": "Lily and Basil"}),
            Fact(question="Who likes to swim?", answer="Lily", extra={"foil": "Lily"}),
            Fact(text="He likes to swim.", extra={"foil": "to read"}),
        ]
    )
    prompts = facts.prompts(tokenizer)
    targets = foil_targets(prompts)
    assert targets.shape == prompts.tokens.shape
    for row, foil in ((0, " In Paris"), (1, " to read.")):
        ours = prompts.tokens[row, : int(prompts.lengths[row])].tolist()
        theirs = tokenizer(prompts.prompt_texts[row] + foil)["input_ids"]
        at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
        assert prompts.answer_mask[row, at]
        assert at > int(prompts.prompt_lengths[row]), "these begin alike"
        assert targets[row].nonzero()[:, 0].tolist() == list(range(len(targets[row])))  # -100 is not 0
        assert (targets[row] != NO_FOIL).nonzero()[:, 0].tolist() == [at - 1]
        assert int(targets[row, at - 1]) == theirs[at]
    assert (targets[2:] == NO_FOIL).all()
    check_foils(targets, "logit_diff")


def test_no_foil_at_all_is_refused():
    prompts = Facts([Fact(question="Who?", answer="Lily")]).prompts(make_tokenizer(bos=True))
    with pytest.raises(DissectError, match="no prompt has one"):
        check_foils(foil_targets(prompts), "logit_diff")


def test_a_foil_that_is_no_text_is_refused():
    prompts = Facts([Fact(question="Who?", answer="Lily", extra={"foil": 7})]).prompts(make_tokenizer(bos=True))
    with pytest.raises(DissectError, match=r"extra\['foil'\] must be text"):
        foil_targets(prompts)
