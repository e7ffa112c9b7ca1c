"""TOFU: forgetting fictitious authors (Maini et al. 2024, arXiv:2401.06121)."""

from pathlib import Path

from dissect.data.fact import Fact
from dissect.data.readers.tofu import tofu_facts
from dissect.evaluation.suites.suite import Part, Suite, plain


def _read(paths: list[Path]) -> list[Fact]:
    return tofu_facts(plain(paths))


SUITE = Suite(
    name="tofu",
    about="model utility over nine means, and forget quality against a model trained without the forgotten authors",
    splits=("forget10", "forget05", "forget01"),
    parts=(
        Part(
            set="forget",
            names=("{split}_perturbed", "{split}"),
            use="forget quality and truth ratio; wrong answers stand in the _perturbed file",
            needed=True,
            read=_read,
        ),
        Part(set="retain", names=("retain_perturbed",), use="model utility", read=_read),
        Part(set="real_authors", names=("real_authors_perturbed", "real_authors"), use="model utility", read=_read),
        Part(set="world_facts", names=("world_facts_perturbed", "world_facts"), use="model utility", read=_read),
    ),
    measures=(
        "answer_probability",
        "rouge_l_recall",
        "truth_ratio",
        "log_truth_ratio",
        "forget_quality",
        "model_utility",
    ),
    options={"truth_ratio.average": "geometric"},
    models={"retrained": "forget quality; or its stored results, --option forget_quality.stored=FILE"},
)
