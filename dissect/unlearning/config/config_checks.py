"""Settings that do not go together."""

from collections.abc import Mapping
from typing import Any

from dissect.errors import DissectError, near_miss
from dissect.unlearning.methods import METHODS, having


def check_together(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse settings, each allowed by itself, that contradict each other or have no effect.

    Args:
        settings: every field of a `TrainConfig` by name.
        defaults: the default of every field.

    Raises:
        DissectError: the first of them, and the way out.
    """
    _check_method(settings, defaults)
    _check_reference(settings)
    _check_trained(settings, defaults)


def _check_method(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    method = METHODS[settings["method"]]
    if settings["beta"] is not None and method.beta is None:
        others = having(lambda each: each.beta is not None)
        raise DissectError(f"beta={settings['beta']}: method {method.name!r} has no β, {others} have")
    for name in {name: None for each in METHODS.values() for name in each.own_settings if name != "beta"}:
        if name not in method.own_settings and settings[name] != defaults[name]:
            owners = having(lambda each, name=name: name in each.own_settings)  # type: ignore[misc]
            raise DissectError(
                f"{name}={settings[name]!r} belongs to method {owners} and does nothing with {method.name!r}: "
                "leave it out"
            )
    if method.retain == "none" and settings["retain_loss"] is not None:
        raise DissectError(
            f"method {method.name!r} has no retain loss, got retain_loss={settings['retain_loss']!r}: use method="
            f"{next(each.name for each in METHODS.values() if each.retain == 'required')!r}"
        )
    if method.perturbs and settings["retain_loss"] is not None:
        raise DissectError(
            f"method {method.name!r} trains on the retained facts by its own loss, got retain_loss="
            f"{settings['retain_loss']!r}: leave it out"
        )
    if method.perturbs and settings["lora_rank"]:
        raise DissectError(f"method {method.name!r} perturbs whole matrices: it does not go with lora_rank")
    if "retain_eps" in method.own_settings and settings["retain_eps"] is None:
        raise DissectError(
            f"method {method.name!r} needs the retain loss that is allowed: set retain_eps, in nats a token, e.g. that "
            "of the base model"
        )
    if settings["retain_loss"] == "states" and method.sees != "states":
        owners = having(lambda each: each.sees == "states")
        raise DissectError(
            f"retain_loss='states' compares the states that method {owners} steers, got {method.name!r}: use nll or kl"
        )
    for name in ("stop_forget", "stop_retain", "keep"):
        if method.negates and settings[name] != defaults[name]:
            raise DissectError(f"{name}: method {method.name!r} forgets after its last step alone: leave it out")
    if method.variants and settings["variant"] not in method.variants:
        raise DissectError(
            f"variant={settings['variant']!r} is no variant of method {method.name!r}: choose from "
            f"{', '.join(method.variants)}"
        )
    if settings["focus"] != "soft" and settings["focus_weight"] != defaults["focus_weight"]:
        raise DissectError(
            f"focus_weight={settings['focus_weight']} belongs to focus='soft', and does nothing here: leave it out"
        )
    if settings["focus"] != "none" and method.focus and method.variants[settings["variant"]].whole_texts:
        answers = next(name for name, variant in method.variants.items() if not variant.whole_texts)
        raise DissectError(
            f"focus={settings['focus']!r} weighs answer tokens: use variant={answers!r}, not {settings['variant']!r}"
        )


def _check_reference(settings: Mapping[str, Any]) -> None:
    if settings["reference_top_k"] is None:
        return
    method = METHODS[settings["method"]]
    if settings["reference"] == "live":
        raise DissectError("reference_top_k is about a stored reference: leave it out with reference='live'")
    if method.reference != "distributions" and settings["retain_loss"] != "kl":
        raise DissectError(f"reference_top_k: method {method.name!r} stores no distributions: leave it out")
    if method.variants and method.variants[settings["variant"]].index_minus_100:
        raise DissectError(f"reference_top_k keeps the true token: it does not go with variant={settings['variant']!r}")


def _check_trained(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    rank = settings["lora_rank"]
    parts = [name for name in ("heads", "neurons") if settings[name] is not None]
    if not rank and settings["lora_alpha"] != defaults["lora_alpha"]:
        raise DissectError(f"lora_alpha={settings['lora_alpha']} belongs to lora_rank: set lora_rank, or leave it out")
    if settings["bf16_inplace"] and (rank or parts):
        other = "lora_rank" if rank else parts[0]
        raise DissectError(f"bf16_inplace steps whole parameters in place: it does not go with {other}")
    if rank and parts:
        raise DissectError(f"lora_rank trains whole matrices: leave {' and '.join(parts)} out")
    if len(parts) > 1:
        raise DissectError("heads are parts of attention's matrices, neurons of the MLP's: set one of them, not both")
    if settings["blocks"]:
        _check_blocks(settings["blocks"])


def _check_blocks(blocks: tuple[object, ...]) -> None:
    from dissect.models.block_names import LAYER_BLOCKS, OUTSIDE_BLOCKS

    known = (*LAYER_BLOCKS, *OUTSIDE_BLOCKS)
    for block in blocks:
        if block not in known:
            raise DissectError(
                f"blocks: no parameter block {block!r}{near_miss(str(block), known)}: choose from {', '.join(known)}"
            )
