"""What single measures can be told, checked before anything is measured: a misspelt option would be one not given."""

import inspect
from collections.abc import Mapping
from typing import Any

from dissect.attacks.relearn.relearn import relearn
from dissect.errors import DissectError, near_miss
from dissect.measures import measure as catalogue
from dissect.unlearning.config.train_config import make_config, names

OPTIONS: dict[str, tuple[str, ...]] = {
    "bleu": ("smoothing",),
    "cka": ("max_tokens", "published"),
    "concept": ("top", "unembedding", "vectors"),
    "el": ("orders", "sampling", "shares"),
    "erasure_depth": ("tau",),
    "extraction_strength": ("published",),
    "fisher": ("max_facts",),
    "logit_lens": ("head", "k"),
    "mia": ("k",),
    "pca": ("max_tokens",),
    "privleak": ("attack",),
    "probe": ("c",),
    "prompt_attacks": ("prefix", "template"),
    "rouge_l": ("stemmer",),
    "similarity_to_base": ("max_new_tokens", "published"),
    "truth_ratio": ("average",),
    "tuned_lens": ("k", "max_tokens", "steps", "texts"),
    "uds": ("component", "tau"),
}
"""By the beginning of the measures' names. Relearning takes the arguments of ``dissect.relearn`` and of training."""
_GIVEN = ("model", "facts", "control", "base", "template", "test_batch_size", "progress", "settings")
"""Arguments of ``relearn`` that an evaluation decides itself."""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that no measure reads, and settings of relearning that do not exist.

    Raises:
        DissectError: one of them, with the names there are.
    """
    own = [name for name in inspect.signature(relearn).parameters if name not in _GIVEN]
    known = OPTIONS | {"relearning": (*own, "preset", *names())}
    relearning = {}
    for option, value in options.items():
        owner, dot, name = option.partition(".")
        measures = [each for each in catalogue.available() if each == owner or each.startswith(f"{owner}_")]
        if not (dot and measures):
            raise DissectError(
                f"option {option!r} belongs to no measure{near_miss(owner, known)}: write it as measure.option, such "
                "as uds.tau"
            )
        if owner in known and name not in known[owner]:
            there = ", ".join(f"{owner}.{each}" for each in sorted(known[owner]))
            raise DissectError(f"no option {option!r}{near_miss(name, known[owner])}: there are {there}")
        if owner not in known and owner in catalogue.available():
            raise DissectError(f"{owner} has no options, got {option!r}: leave it out")
        if owner == "relearning" and name not in own:
            relearning[name] = value
    if relearning and "preset" not in relearning:
        make_config({"method": "learn", **relearning})
