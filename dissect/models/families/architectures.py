"""From the ``architectures`` and ``model_type`` of a ``config.json`` to one name, however it is spelled there."""

from collections.abc import Mapping, Sequence
from typing import Any

from dissect.errors import DissectError
from dissect.models.families.family import Family

# fmt: off
_MIXTURES = {
    "MixtralForCausalLM": "mixtral", "OlmoeForCausalLM": "olmoe", "Qwen3MoeForCausalLM": "qwen3_moe",
    "Qwen2MoeForCausalLM": "qwen2_moe", "PhimoeForCausalLM": "phimoe", "GptOssForCausalLM": "gpt_oss",
    "DeepseekV2ForCausalLM": "deepseek_v2", "DeepseekV3ForCausalLM": "deepseek_v3", "DbrxForCausalLM": "dbrx",
    "GraniteMoeForCausalLM": "granitemoe", "JetMoeForCausalLM": "jetmoe", "Llama4ForCausalLM": "llama4_text",
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok")
"""Keys of a ``config.json`` that count experts, whatever the architecture is called."""
_WRAPPERS = ("FSDP", "DDP", "PeftModelFor", "Peft")
_NO_MODELS = frozenset((
    "AutoModelForCausalLM", "PreTrainedModel", "PeftModel", "PeftModelForCausalLM", "OptimizedModule",
    "DistributedDataParallel", "FullyShardedDataParallel", "DeepSpeedEngine",
))
# fmt: on
"""Classes of what was around the model when it was saved; ``model_type`` says what it is."""
_HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def choose(config: Mapping[str, Any], families: Sequence[Family]) -> tuple[Family, bool]:
    """The family of a checkpoint, and whether its architecture is named without an output head, as ``LlamaModel`` is.

    ``architectures`` may be a list or a string, name the same architecture twice, spell it in other cases (some files
    say ``LLaMAForCausalLM``), after a wrapper (``FSDPLlamaForCausalLM``) or with its module
    (``transformers.LlamaForCausalLM``); where it names none, ``model_type`` decides.

    Raises:
        DissectError: an architecture that is not supported, or contradictory statements.
    """
    model_type = config.get("model_type")
    model_type = model_type.strip().lower() if isinstance(model_type, str) else model_type
    names = [name for name in dict.fromkeys(_stated(config.get("architectures"))) if name not in _NO_MODELS]
    matches: list[tuple[Family, bool] | None] = [_matching(name, config, families) for name in names]
    if not names:
        fitting = [family for family in families if _right_layout(family, config)]
        spelled = [family for family in fitting if model_type in (family.model_type, *family.other_types)]
        matches += [(family, False) for family in spelled[:1]]
    what = ", ".join(names) or f"model_type {model_type!r}"
    matched = [match for match in matches if match is not None]
    if not matched or len({family.architecture for family, _ in matched}) > 1 or len(matched) < len(matches):
        raise _unsupported(what, [*names, str(model_type)], config, families)
    family = matched[0][0]
    if model_type not in (None, family.model_type, *family.other_types):
        raise DissectError(
            f"config.json contradicts itself: architecture {family.architecture} but model_type {model_type!r} "
            f"(expected {family.model_type!r})"
        )
    return family, all(headless for _, headless in matched)


def _stated(value: Any) -> list[str]:
    """The names in ``architectures``, however they are nested; anything that is no text names none."""
    if isinstance(value, str):
        return [bare] if (bare := value.strip().rpartition(".")[2]) else []
    return [name for each in value for name in _stated(each)] if isinstance(value, (list, tuple)) else []


def _matching(name: str, config: Mapping[str, Any], families: Sequence[Family]) -> tuple[Family, bool] | None:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper) if name != wrapper else name
    exact = [family for family in families if family.architecture == name]
    alike = [family for family in families if family.architecture.lower() == name.lower()]
    for family in [*exact, *alike]:
        if _right_layout(family, config):
            return family, False
    stem = name.lower().removesuffix("model")
    for family in families:
        bare = family.architecture
        for head in _HEADS:
            bare = bare.removesuffix(head)
        if stem != name.lower() and stem in (bare.lower(), f"{bare.lower()}text") and _right_layout(family, config):
            return family, True
    return None


def _right_layout(family: Family, config: Mapping[str, Any]) -> bool:
    """Return True if the keys are the family's, where two layouts share names: OLMo's differ in the case of letters."""
    return family.owns is None or family.owns(config)


def _unsupported(
    what: str, names: Sequence[str], config: Mapping[str, Any], families: Sequence[Family]
) -> DissectError:
    supported = ", ".join(family.architecture for family in families)
    counted = any(isinstance(config.get(key), int) and config[key] > 1 for key in _EXPERTS)
    if counted or any(name in _MIXTURES or name in _MIXTURES.values() for name in names):
        return DissectError(
            f"config.json: {what} is a mixture of experts: its layers have no one matrix of value vectors, and "
            f"TransformerLens computes no coefficients for them; supported: {supported}"
        )
    return DissectError(f"config.json: {what} is not supported; supported: {supported}")
