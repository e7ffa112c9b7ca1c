"""RWKU: forgetting real people (Jin et al. 2024, arXiv:2406.10890)."""

from dissect.evaluation.suites.suite import Part, Suite

SUITE = Suite(
    name="rwku",
    about="fill-in, question and adversarial probes about the forgotten, probes about neighbours, membership scores",
    parts=(
        Part(set="rwku_fill_in", names=("forget_level1", "forget_level1/test"), use="fill-in probes"),
        Part(set="rwku_question", names=("forget_level2", "forget_level2/test"), use="question probes"),
        Part(set="rwku_adversarial", names=("forget_level3", "forget_level3/test"), use="adversarial probes"),
        Part(
            set="rwku_neighbour_fill_in", names=("neighbor_level1", "neighbor_level1/test"), use="kept: fill-in probes"
        ),
        Part(set="rwku_neighbour_question", names=("neighbor_level2", "neighbor_level2/test"), use="kept: questions"),
        Part(set="mia_forget", names=("mia_forget", "mia_forget/test", "forget_mia"), use="texts about the forgotten"),
        Part(set="mia_retain", names=("mia_retain", "mia_retain/test", "retain_mia"), use="texts about others"),
    ),
    measures=("rwku", "rwku_membership"),
)
