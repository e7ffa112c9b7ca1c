"""What a training configuration may say."""

import math
from typing import TYPE_CHECKING

from dissect.errors import DissectError, near_miss
from dissect.models.parameters import LAYER_BLOCKS, OUTSIDE_BLOCKS
from dissect.unlearning.config.choices import BETAS, CHOICES, COMPARING

if TYPE_CHECKING:
    from dissect.unlearning.config.train_config import TrainConfig


def check(config: "TrainConfig") -> None:
    """Refuse values outside of their range, and settings that do not go together.

    Raises:
        DissectError: the first of them, with what is allowed.
    """
    for name, allowed in CHOICES.items():
        value = getattr(config, name)
        if value not in allowed and not (value is None and name == "retain_loss"):
            raise DissectError(f"{name}={value!r}{near_miss(str(value), allowed)}: choose from {', '.join(allowed)}")
    for name in ("lr", "max_grad_norm", "focus_weight", "lora_alpha"):
        _number(config, name, positive=True, infinite=name == "max_grad_norm")
    for name in ("forget_weight", "retain_weight", "gamma", "warmup_epochs", "weight_decay"):
        _number(config, name)
    for name in ("beta", "stop_perplexity_ratio"):
        if getattr(config, name) is not None:
            _number(config, name, positive=True)
    for name in ("epochs", "batch_size", "accumulate", "checkpoint_every", "check_every"):
        _count(config, name, least=1)
    if config.max_steps is not None:
        _count(config, "max_steps", least=1)
    for name in ("warmup_steps", "lora_rank"):
        _count(config, name, least=0)
    for name in ("delta", "stop_loss"):
        value = getattr(config, name)
        real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        _require(real or (value is None and name == "stop_loss"), name, value, "a finite number")
    _count(config, "seed", least=0)
    for name in ("bf16_inplace", "gradient_checkpointing"):
        _require(isinstance(getattr(config, name), bool), name, getattr(config, name), "true or false")
    _check_together(config)
    _check_trained(config)


def _check_together(config: "TrainConfig") -> None:
    for name, used, where in (
        ("gamma", config.method == "undial", "method 'undial'"),
        ("delta", config.method == "simnpo", "method 'simnpo'"),
        ("focus_weight", config.focus == "soft", "focus='soft'"),
        ("lora_alpha", config.lora_rank > 0, "lora_rank"),
    ):
        value = getattr(config, name)
        if not used and value != type(config).__dataclass_fields__[name].default:
            raise DissectError(f"{name}={value} belongs to {where}, and does nothing here: leave it out")
    if config.beta is not None and config.method not in BETAS:
        raise DissectError(f"beta={config.beta}: method {config.method!r} has no β, {', '.join(BETAS)} have")
    if config.method == "ga" and config.retain_loss is not None:
        raise DissectError(
            f"method 'ga' has no retain loss, got retain_loss={config.retain_loss!r}: use method='grad_diff'"
        )
    if config.method != "undial" and config.focus != "none":
        raise DissectError(f"focus={config.focus!r} belongs to method 'undial', got {config.method!r}")
    if config.method != "undial" and config.variant != "masked":
        raise DissectError(f"variant={config.variant!r} belongs to method 'undial', got {config.method!r}")
    if config.focus != "none" and config.variant != "masked":
        raise DissectError(f"focus={config.focus!r} weighs answer tokens: use variant='masked', not {config.variant!r}")
    if config.reference_top_k is not None:
        _count(config, "reference_top_k", least=1)
        if config.reference == "live":
            raise DissectError("reference_top_k is about a stored reference: leave it out with reference='live'")
        if COMPARING.get(config.method) != "rows" and config.retain_loss != "kl":
            raise DissectError(f"reference_top_k: method {config.method!r} keeps no distributions, leave it out")
        if config.variant == "open_unlearning":
            raise DissectError("reference_top_k keeps the true token: it does not go with variant='open_unlearning'")
    parts = [name for name in ("heads", "neurons") if getattr(config, name) is not None]
    if config.bf16_inplace and (config.lora_rank or parts):
        other = "lora_rank" if config.lora_rank else parts[0]
        raise DissectError(f"bf16_inplace steps whole parameters where they lie: it does not go with {other}")


def _check_trained(config: "TrainConfig") -> None:
    known = (*LAYER_BLOCKS, *OUTSIDE_BLOCKS)
    for block in config.blocks:
        if block not in known:
            raise DissectError(
                f"blocks: no parameter block {block!r}{near_miss(str(block), known)}: choose from {', '.join(known)}"
            )
    for name in ("layers", "heads", "neurons"):
        members = getattr(config, name)
        if members is not None and (not members or any(not isinstance(m, int) or m < 0 for m in members)):
            raise DissectError(f"{name}={members}: give numbers from 0 on, or leave it out for all")
    if config.lora_rank and (config.heads is not None or config.neurons is not None):
        raise DissectError("lora_rank trains whole matrices: leave heads and neurons out")
    if config.heads is not None and config.neurons is not None:
        raise DissectError("heads are of attention's matrices and neurons of the MLP's: train one of them at a time")


def _number(config: "TrainConfig", name: str, *, positive: bool = False, infinite: bool = False) -> None:
    value = getattr(config, name)
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    ok = numeric and (value > 0 if positive else value >= 0) and (infinite or value < math.inf)
    allowed = ("a positive number" if positive else "0 or more") + (" (inf for none)" if infinite else "")
    _require(ok, name, value, allowed)


def _count(config: "TrainConfig", name: str, *, least: int) -> None:
    value = getattr(config, name)
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= least
    _require(ok, name, value, f"a whole number of at least {least}")


def _require(ok: bool, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise DissectError(f"{name}={value!r}: must be {allowed}")
