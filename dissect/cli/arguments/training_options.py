"""Options of `dissect unlearn` that are settings of the training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dissect.cli.arguments import options, values
from dissect.unlearning.config.choices import CHOICES


def _choice(flag: str, help: str, name: str) -> Any:
    return options.choice(flag, help, *CHOICES[name])


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Settings of ``TrainConfig``; what is not given is as in the preset, the file, or its defaults."""

    preset: Annotated[str | None, typer.Option(metavar="NAME", help="Published settings, for instance tofu-npo.")] = (
        None
    )
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Settings from a file; options override them.")
    ] = None
    method: Annotated[str | None, _choice("--method", "Objective; ga by default.", "method")] = None
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of AdamW; 1e-5 by default.")] = None
    epochs: Annotated[int | None, typer.Option(help="Passes over the facts; 5 by default.")] = None
    max_steps: Annotated[int | None, typer.Option(help="End after so many steps, also within an epoch.")] = None
    batch_size: Annotated[int | None, typer.Option(help="Facts in one micro-batch; 8 by default.")] = None
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches in one step.")] = None
    schedule: Annotated[str | None, _choice("--schedule", "Of the learning rate after the warm-up.", "schedule")] = None
    warmup_steps: Annotated[int | None, typer.Option(help="Steps of rising learning rate.")] = None
    warmup_epochs: Annotated[float | None, typer.Option(help="The same in epochs.")] = None
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW, decoupled.")] = None
    max_grad_norm: Annotated[float | None, typer.Option(help="Longest gradient; inf for any.")] = None
    beta: Annotated[float | None, typer.Option(help="NPO, DPO, SimNPO, WGA, SatImp; the paper's by default.")] = None
    gamma: Annotated[float | None, typer.Option(help="UnDIAL: nats off the teacher's logit; 10 by default.")] = None
    delta: Annotated[float | None, typer.Option(help="SimNPO: margin.")] = None
    variant: Annotated[str | None, _choice("--variant", "UnDIAL: which of its published forms.", "variant")] = None
    focus: Annotated[str | None, _choice("--focus", "UnDIAL: weigh the facts' focus spans.", "focus")] = None
    focus_weight: Annotated[float | None, typer.Option(help="Of a token in soft focus; 10 by default.")] = None
    retain_loss: Annotated[str | None, _choice("--retain-loss", "On --retain; nll by default.", "retain_loss")] = None
    forget_weight: Annotated[float | None, typer.Option(help="Of the forget loss; 1 by default.")] = None
    retain_weight: Annotated[float | None, typer.Option(help="Of the retain loss; 1 by default.")] = None
    blocks: Annotated[
        str | None, typer.Option(metavar="mlp.W_out,attn,...", help="Train these blocks only; everything by default.")
    ] = None
    layers: Annotated[str | None, typer.Option(metavar="0,3,5-8", help="Train in these layers only.")] = None
    heads: Annotated[str | None, typer.Option(metavar="0,2", help="Train these heads only.")] = None
    neurons: Annotated[str | None, typer.Option(metavar="98,120-130", help="Train these MLP neurons only.")] = None
    lora_rank: Annotated[int | None, typer.Option(help="Train low-rank adapters of this rank instead.")] = None
    lora_alpha: Annotated[float | None, typer.Option(help="Their scale is alpha / rank; 16 by default.")] = None
    reference: Annotated[
        str | None, _choice("--reference", "Keep what the reference says, or the model itself.", "reference")
    ] = None
    reference_top_k: Annotated[int | None, typer.Option(help="Keep this many tokens of each distribution.")] = None
    bf16_inplace: Annotated[
        bool | None, typer.Option("--bf16-inplace", help="Step bfloat16 weights in bfloat16.", show_default=False)
    ] = None
    gradient_checkpointing: Annotated[
        bool | None, typer.Option("--gradient-checkpointing", help="Less memory, more time.", show_default=False)
    ] = None
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps between saved states; 100 by default.")] = None
    stop_loss: Annotated[float | None, typer.Option(help="Stop when the loss is at or below this.")] = None
    stop_perplexity_ratio: Annotated[
        float | None, typer.Option(help="Stop when the perplexity on --monitor is above so many times its first value.")
    ] = None
    check_every: Annotated[int | None, typer.Option(help="Steps between two looks at it; 100 by default.")] = None

    def settings(self, seed: int) -> dict[str, Any]:
        """Settings of ``TrainConfig``: of the preset, then the file, then the options.

        Raises:
            DissectError: a preset or a file that does not exist, or numbers that cannot be read.
        """
        from dissect.unlearning.config.presets import preset, read_config

        found: dict[str, Any] = {}
        if self.preset is not None:
            found |= preset(self.preset)
        if self.config is not None:
            found |= read_config(self.config)
        given = {name: value for name, value in vars(self).items() if value is not None}
        for name in ("layers", "heads", "neurons"):
            if name in given:
                given[name] = values.numbered(given[name], f"--{name}")
        if "blocks" in given:
            given["blocks"] = values.listed(given["blocks"], "--blocks")
        found |= {name: value for name, value in given.items() if name not in ("preset", "config")}
        return found | {"seed": seed or found.get("seed", 0)}
