"""The architectures that dissect loads, and how their checkpoints map to hooked models.

One file a kin. Each gives the configuration (from ``config.json``, never from a name) and one map of the weights.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dissect.errors import DissectError
from dissect.models.auto_config import auto_config
from dissect.models.families.architectures import choose
from dissect.models.families.family import Family, HookedWidths, NativeConfig, check_sizes
from dissect.models.families.gemma import GEMMA1
from dissect.models.families.gemma2 import GEMMA2
from dissect.models.families.gemma3 import GEMMA3, GEMMA3_WHOLE
from dissect.models.families.gpt2 import GPT2
from dissect.models.families.gpt_neo import GPT_NEO
from dissect.models.families.gptj import GPTJ
from dissect.models.families.llama import LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3
from dissect.models.families.neox import NEOX
from dissect.models.families.old_olmo import OLD_OLMO
from dissect.models.families.olmo import OLMO, OLMO2, OLMO3
from dissect.models.families.opt import OPT
from dissect.models.families.phi import PHI
from dissect.models.families.phi3 import PHI3
from dissect.models.families.rope import rotary_tables
from dissect.models.families.stablelm import STABLELM
from dissect.models.families.weights import Weight, linear

if TYPE_CHECKING:
    from transformer_lens import HookedTransformerConfig

FAMILIES: tuple[Family, ...] = (
    *(LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3, OLMO, OLD_OLMO, OLMO2, OLMO3, STABLELM),
    *(GPT2, GPT_NEO, NEOX, GPTJ, OPT, PHI, PHI3, GEMMA1, GEMMA2, GEMMA3, GEMMA3_WHOLE),
)
"""Every architecture that can be loaded and saved."""


_NOT_NATIVE = ("model_type", "auto_map", "architectures", "quantization_config")


def supported() -> list[str]:
    """The architectures that can be loaded, as ``config.json`` calls them."""
    return [family.architecture for family in FAMILIES]


def find_family(config: Mapping[str, Any]) -> Family:
    """The family of a checkpoint, from the contents of its ``config.json``.

    Raises:
        DissectError: an architecture that is not supported, or contradictory statements.
    """
    family, headless = choose(config, FAMILIES)
    if headless and not transformers_config(family, config).tie_word_embeddings:
        raise DissectError(
            f"config.json: {config.get('architectures')} is a model without an output head, and its head is not its "
            f"embedding (tie_word_embeddings is false); supported: {', '.join(supported())}"
        )
    return family


def transformers_config(family: Family, config: Mapping[str, Any]) -> NativeConfig:
    """transformers' own reading of ``config.json``: defaults filled in, older spellings brought into one form.

    Raises:
        DissectError: transformers refuses it.
    """
    AutoConfig = auto_config()
    try:
        native = config if family.translate is None else family.translate(config)
        settings = {key: value for key, value in native.items() if key not in _NOT_NATIVE}
        return AutoConfig.for_model(family.native_type or family.model_type, **settings)
    except DissectError:
        raise
    except Exception as error:  # its validators raise whatever the field's type raises
        reason = " ".join(str(error).split())
        raise DissectError(f"config.json: not a valid {family.model_type} configuration: {reason}") from error


def hooked_settings(family: Family, config: NativeConfig) -> dict[str, Any]:
    """The part that the checkpoint decides of the hooked model's configuration; ``rotations`` are no field of it.

    Raises:
        DissectError: a feature that a HookedTransformer cannot express.
    """
    try:
        family.keys.check(config)
        settings = family.settings(config)
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, DissectError):
            raise
        raise DissectError(f"config.json: a value of the wrong kind ({' '.join(str(error).split())})") from error
    check_sizes(settings)
    return settings


def hooked_config(family: Family, config: NativeConfig, **settings: Any) -> "HookedTransformerConfig":
    """The configuration of the hooked model; ``settings`` are what the checkpoint does not decide (dtype, device).

    Raises:
        DissectError: a feature that a HookedTransformer cannot express.
    """
    from transformer_lens import HookedTransformerConfig

    ours = hooked_settings(family, config)
    rotations = ours.pop("rotations", None)
    cfg = HookedTransformerConfig(
        **ours,
        original_architecture=family.computes_as or family.architecture,
        model_name=family.model_type,
        init_weights=False,
        **settings,
    )
    if rotations is not None:
        cfg.rotary_tables = rotary_tables(rotations, config)
    return cfg


def weight_map(family: Family, config: NativeConfig, cfg: HookedWidths) -> list[Weight]:
    """Every tensor of a checkpoint; without an output head where it is tied to the embedding."""
    head = [] if config.tie_word_embeddings else [linear(family.head, "unembed.W_U")]
    return [*family.weights(config, cfg), *head]
