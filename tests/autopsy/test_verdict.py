"""The rule of the verdict, case by case."""

import math

import pytest

from dissect.autopsy.shares import Evidence, Share
from dissect.autopsy.verdict import verdict


def share(value: float, width: float = 0.05) -> Share:
    return Share(value, value - width, value + width, 100)


KNOWS = {"known": share(0.98), "retain": share(0.95)}
FORGOT = {**KNOWS, "said": {"as asked": share(0.05), "in other words": share(0.1)}}
INTACT, GONE = {"depth": share(0.1), "depth_retain": share(0.02)}, {"depth": share(0.9), "depth_retain": share(0.05)}
BACK = {"returned": share(0.6), "returned_control": share(0.05), "gained": share(0.55)}
NOT_BACK = {"returned": share(0.08), "returned_control": share(0.07), "gained": share(0.01)}


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (Evidence(), "no question"),
        (Evidence(known=share(0.2), said={"as asked": share(0.1)}), "no question"),
        (Evidence(**KNOWS, said={"as asked": share(0.98)}), "not forgotten"),
        (Evidence(**KNOWS, said={"as asked": share(0.02), "in other words": share(0.7)}), "not forgotten"),
        (Evidence(**FORGOT, **INTACT, **BACK), "suppressed"),
        (Evidence(**FORGOT, **INTACT), "suppressed"),
        (Evidence(**FORGOT, **BACK), "suppressed"),
        (Evidence(**FORGOT, **GONE, **NOT_BACK), "erased"),
        (Evidence(**FORGOT, **GONE), "erased"),
        (Evidence(**FORGOT, **GONE, **BACK), "undecided"),
        (Evidence(**FORGOT), "undecided"),
        (Evidence(**(FORGOT | {"retain": share(0.1)}), **INTACT, **BACK), "broken"),
        (Evidence(**FORGOT, **GONE, perplexity=20.0), "broken"),
    ],
)
def test_cases(found, kind):
    assert verdict(found).kind == kind


def test_an_interval_across_the_line_decides_nothing():
    wide = Evidence(**FORGOT, depth=Share(0.45, 0.3, 0.6), depth_retain=share(0.02))
    assert verdict(wide).kind == "undecided"
    assert verdict(wide).signs[0].side == "unclear"
    nearly = Evidence(**(KNOWS | {"said": {"as asked": Share(0.45, 0.35, 0.55)}}), **INTACT)
    assert verdict(nearly).kind == "not forgotten"
    assert "crosses one half" in verdict(nearly).sure


def test_foreign_states_say_nothing_about_depth():
    """A model trained anew has other states for everything, kept facts too."""
    foreign = Evidence(**FORGOT, depth=share(0.95), depth_retain=share(0.9), **NOT_BACK)
    found = verdict(foreign)
    assert [sign.side for sign in found.signs] == ["unclear", "erased"]
    assert found.kind == "erased" and "relearning supports this" in found.sure


def test_two_signs_that_agree_are_surer_than_one():
    both, one = verdict(Evidence(**FORGOT, **INTACT, **BACK)), verdict(Evidence(**FORGOT, **INTACT))
    assert both.sure.startswith("Good confidence")
    assert (
        one.sure.startswith("Moderate confidence: depth supports this.") and "Relearning was not measured" in one.sure
    )


def test_restoration_decides_only_where_nothing_else_does():
    early = {"values": share(0.1), "coefficients": share(0.8), "coefficients_controls": {"of another": share(0.1)}}
    assert verdict(Evidence(**FORGOT, **early)).kind == "suppressed"
    assert verdict(Evidence(**FORGOT, **early)).sure.startswith("Low confidence")
    assert verdict(Evidence(**FORGOT, **early, **GONE, **NOT_BACK)).kind == "erased"
    unspecific = early | {"coefficients_controls": {"of another": share(0.1), "of the retrained": share(0.78)}}
    assert verdict(Evidence(**FORGOT, **unspecific)).kind == "undecided"
    changed = {"values": share(0.8), "coefficients": share(0.8)}
    assert verdict(Evidence(**FORGOT, **changed)).kind == "erased"


def test_a_gain_that_a_control_has_too_is_none():
    same = Evidence(**FORGOT, returned=share(0.6), returned_control=share(0.6), gained=share(0.0))
    assert verdict(same).kind == "erased"
    assert verdict(Evidence(**FORGOT, returned=share(0.6))).kind == "suppressed"


def test_a_little_that_comes_back_decides_nothing():
    """Recovery by relearning is a lower bound: of a model whose last layer alone was changed a sixth comes back."""
    little = {"returned": share(0.17), "returned_control": share(0.02), "gained": share(0.15)}
    assert [sign.side for sign in verdict(Evidence(**FORGOT, **little)).signs] == ["unclear"]
    assert verdict(Evidence(**FORGOT, **INTACT, **little)).kind == "suppressed"
    assert verdict(Evidence(**FORGOT, **little)).kind == "undecided"


def test_words_hold_the_numbers():
    found = verdict(Evidence(**FORGOT, **INTACT, **BACK, place="It sits in layer 3."))
    assert "10% (5% to 15%)" in found.words and "layer 3" in found.words
    assert str(Share(0.5, math.nan, math.nan)) == "50%"


def test_any_wording_whose_interval_reaches_half_counts():
    said = {"as asked": Share(0.40, 0.38, 0.42, 100), "in other words": Share(0.39, 0.25, 0.55, 30)}
    found = verdict(Evidence(**KNOWS, said=said, **GONE, **NOT_BACK))
    assert found.kind == "not forgotten" and "in other words" in found.words


def test_the_wording_is_named():
    assert "10% (5% to 15%) of the forget facts" in verdict(Evidence(**FORGOT)).words
    assert "in other words, where it answers most" in verdict(Evidence(**FORGOT)).words


def test_erased_says_which_signs_say_so():
    by_depth, by_both = verdict(Evidence(**FORGOT, **GONE)), verdict(Evidence(**FORGOT, **GONE, **NOT_BACK))
    assert "states" in by_depth.words and "relearning" not in by_depth.words
    assert "states" in by_both.words and "relearning" in by_both.words
    values = verdict(Evidence(**FORGOT, values=share(0.8), coefficients=share(0.8)))
    assert values.kind == "erased" and "value vectors themselves" in values.words and "states" not in values.words


def test_a_sign_that_points_the_other_way_is_named():
    found = verdict(Evidence(**FORGOT, **BACK, values=share(0.8), coefficients=share(0.9)))
    assert found.kind == "suppressed" and "Restoration points the other way." in found.sure


def test_a_base_model_that_knows_nothing_leaves_nothing_to_forget():
    assert "nothing to forget" in verdict(Evidence(known=share(0.0, 0.0))).headline


def test_value_vectors_count_only_above_their_controls():
    changed = {"values": share(0.8), "coefficients": share(0.8), "values_controls": {"in other layers": share(0.79)}}
    assert verdict(Evidence(**FORGOT, **changed)).kind == "undecided"
    assert "(in other layers 79%)" in verdict(Evidence(**FORGOT, **changed)).signs[-1].words


def test_a_share_of_nothing_decides_nothing():
    """There is a control, but it cannot be said what share of the loss came back beyond it."""
    found = verdict(Evidence(**FORGOT, returned=share(0.0), returned_control=share(0.0)))
    assert [sign.side for sign in found.signs] == ["unclear"]


def test_an_attack_that_teaches_nothing_finds_nothing():
    weak = Evidence(**FORGOT, **NOT_BACK, taught=share(0.02))
    assert [sign.side for sign in verdict(weak).signs] == ["unclear"] and verdict(weak).kind == "undecided"
    assert "too weak" in verdict(weak).signs[0].words
    strong = Evidence(**FORGOT, **NOT_BACK, taught=share(0.9))
    assert verdict(strong).kind == "erased"


def test_without_kept_facts_nothing_is_called_erased():
    blind = {"known": share(0.98), "said": {"as asked": share(0.05)}}
    assert verdict(Evidence(**blind, depth=share(0.9))).signs[0].side == "unclear"
    found = verdict(Evidence(**blind, **NOT_BACK, taught=share(0.9)))
    assert found.kind == "undecided" and "damage" in found.words
    assert verdict(Evidence(**blind, depth=share(0.1))).kind == "suppressed", "what is still there is there"
