"""Settings that have a few possible values, and those that depend on the method."""

from typing import Any, Literal, get_args

Method = Literal["ga", "grad_diff", "npo", "simnpo", "dpo", "undial", "wga", "satimp", "ceu", "learn"]
RetainLoss = Literal["nll", "kl"]
Schedule = Literal["constant", "linear", "cosine"]
Variant = Literal["masked", "open_unlearning", "official"]
"""Of UnDIAL; see ``dissect.unlearning.losses.undial``."""
Focus = Literal["none", "soft", "hard"]
Reference = Literal["stored", "live"]

CHOICES: dict[str, tuple[Any, ...]] = {
    "method": get_args(Method),
    "retain_loss": get_args(RetainLoss),
    "variant": get_args(Variant),
    "focus": get_args(Focus),
    "schedule": get_args(Schedule),
    "reference": get_args(Reference),
}
"""What each of these settings may be."""

BETAS: dict[str, float] = {"npo": 0.1, "dpo": 0.1, "simnpo": 4.5, "wga": 1.0, "satimp": 5.0}
"""The papers' β, by method; the others have none."""

COMPARING = {"npo": "nll", "dpo": "nll", "undial": "rows"}
"""Methods that compare with a reference, and what they need of it: the answer's NLL, or its logits row by row."""
