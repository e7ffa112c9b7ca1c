"""Published settings by name.

Sources: the configurations of the papers' repositories (UnDIAL, NPO, SimNPO, open-unlearning, ConceptVectors). What is
data there (which facts, which retained facts) is given to ``unlearn``; numbers of GPUs are folded into ``accumulate``.
"""

from typing import Any

from dissect.errors import DissectError, near_miss

_TOFU: dict[str, Any] = {
    "lr": 1e-5,
    "epochs": 10,
    "batch_size": 8,
    "accumulate": 4,
    "schedule": "linear",
    "warmup_epochs": 1.0,
    "weight_decay": 0.01,
}
_LORA: dict[str, Any] = {"lora_rank": 8, "lora_alpha": 16.0, "blocks": ("attn.W_Q", "attn.W_V")}
_CONCEPTS: dict[str, Any] = {
    "lr": 5e-5,
    "epochs": 10,
    "batch_size": 1,
    "accumulate": 16,
    "schedule": "linear",
    "warmup_epochs": 1.0,
    "weight_decay": 0.01,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Dong et al. (2025), README: GPT-Neo-125M, all weights; GPT-Neo-1.3B, adapters. Their code halves the batch size
    # that it is given. Their teacher was not the student itself but GPT-Neo-125M by default: give teacher= for that.
    "undial-125m": {
        "method": "undial",
        "variant": "official",
        "gamma": 3.0,
        "lr": 1e-6,
        "epochs": 10,
        "batch_size": 32,
        "schedule": "linear",
    },
    "undial-1.3b-lora": {
        **_LORA,
        "method": "undial",
        "variant": "official",
        "gamma": 3.0,
        "lr": 5e-6,
        "epochs": 100,
        "batch_size": 16,
        "accumulate": 2,
        "schedule": "linear",
        "warmup_steps": 100,
        "stop_perplexity_ratio": 1.03,
    },
    # The authors' note in open-unlearning: Llama-2-7B, effective batch 32, no retain loss.
    "undial-7b-lora": {**_TOFU, **_LORA, "method": "undial", "variant": "open_unlearning", "gamma": 10.0, "lr": 1e-4},
    # open-unlearning's defaults on TOFU.
    "tofu-ga": {**_TOFU, "method": "ga"},
    "tofu-grad_diff": {**_TOFU, "method": "grad_diff", "retain_loss": "nll"},
    "tofu-npo": {**_TOFU, "method": "npo", "beta": 0.1, "retain_loss": "nll"},
    "tofu-simnpo": {**_TOFU, "method": "simnpo", "beta": 4.5, "forget_weight": 0.125, "retain_loss": "nll"},
    "tofu-dpo": {**_TOFU, "method": "dpo", "beta": 0.1, "retain_loss": "nll"},
    # Mekala et al. (2025), arXiv:2409.13474: DPO whose alternate answers the model itself wrote: give alternate=.
    "tofu-altpo": {**_TOFU, "method": "dpo", "beta": 0.1, "retain_loss": "nll"},
    "tofu-idk_nll": {**_TOFU, "method": "idk_nll", "retain_loss": "nll"},
    "tofu-undial": {**_TOFU, "method": "undial", "gamma": 10.0, "lr": 1e-4, "variant": "open_unlearning"},
    # all parameters that reach the layer, as there; the authors of RMU train three matrices
    "tofu-rmu": {
        **_TOFU,
        "method": "rmu",
        "variant": "open_unlearning",
        "steering_layer": 7,
        "steering_coeff": 2.0,
        "blocks": ("block", "embed"),
    },
    # Li et al. (2024), their code: Zephyr-7B on WMDP, 150 steps at batch 4 with α 1200.
    "wmdp-rmu": {
        "method": "rmu",
        "variant": "official",
        "steering_layer": 7,
        "steering_coeff": 6.5,
        "retain_weight": 1200.0,
        "lr": 5e-5,
        "batch_size": 4,
        "max_steps": 150,
    },
    # Fan et al. (2024): forget05 has its own weights.
    "tofu05-simnpo": {**_TOFU, "method": "simnpo", "beta": 2.5, "forget_weight": 0.1375, "retain_loss": "nll"},
    # ConceptVectors, which made the checkpoints of "Dissecting Fine-Tuning Unlearning": bfloat16 stepped in place.
    "conceptvectors-ga": {**_CONCEPTS, "method": "ga", "bf16_inplace": True},
    # Lee, Kim & Jo (2026), arXiv:2605.24614: the relearning attack, one pass over the facts.
    "relearn-uds": {"method": "learn", "lr": 2e-5, "epochs": 1, "batch_size": 32},
    "conceptvectors-grad_diff": {
        **_CONCEPTS,
        "method": "grad_diff",
        "retain_loss": "nll",
        "retain_weight": 1.5,
        "bf16_inplace": True,
    },
    "conceptvectors-npo": {**_CONCEPTS, "method": "npo", "beta": 0.1, "stop_loss": 0.0, "bf16_inplace": True},
    "conceptvectors-npo_kl": {
        **_CONCEPTS,
        "method": "npo",
        "beta": 0.1,
        "retain_loss": "kl",
        "stop_loss": 0.0,
        "bf16_inplace": True,
    },
}
"""Settings by preset; everything else has its default of `TrainConfig`."""


def preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset.

    Raises:
        DissectError: there is none of that name.
    """
    if name not in PRESETS:
        raise DissectError(f"no preset {name!r}{near_miss(name, PRESETS)}: choose from {', '.join(PRESETS)}")
    return dict(PRESETS[name])
