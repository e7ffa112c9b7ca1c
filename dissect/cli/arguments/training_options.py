"""Options of `dissect unlearn` that are settings of the training, made from the fields of `TrainConfig`."""

from dataclasses import Field, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dissect.cli.arguments import options, values
from dissect.cli.arguments.field_help import field_docstrings, first_sentence
from dissect.unlearning.config.presets import preset
from dissect.unlearning.config.setting_types import OneOf, setting_type
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.methods import METHODS

ELSEWHERE = ("seed", "chat", "max_length", "stride")
"""Settings that are options of other commands as well, and declared there."""
_LISTS = {"blocks": values.listed, "layers": values.numbered, "heads": values.numbered, "neurons": values.numbered}
"""Reader of each setting that is a list."""


def _help(setting: Field, sentence: str) -> str:
    """Sentence of a setting, with the methods that it belongs to before it and its default behind it."""
    if setting.name == "method":
        known = (f"{method.name} ({method.about})" for method in METHODS.values())
        sentence = f"{sentence.rstrip('.')}: {', '.join(known)}."
    owners = [method for method in METHODS.values() if setting.name in method.own_settings]
    if setting.name == "beta":
        return f"{sentence} [default: {', '.join(f'{method.label} {method.beta:g}' for method in owners)}]"
    if owners:
        sentence = f"{', '.join(method.label for method in owners)}: {sentence[0].lower()}{sentence[1:]}"
    if not setting.default:
        return sentence
    default = f"{setting.default:g}".replace("e-0", "e-") if isinstance(setting.default, float) else setting.default
    return f"{sentence} [default: {default}]"


def _option(setting: Field, sentence: str) -> tuple[str, Any, Any]:
    """Name, annotation for typer, and default of the option for a setting."""
    kind, flag = setting_type(setting.type), f"--{setting.name.replace('_', '-')}"
    text = _help(setting, sentence)
    if isinstance(kind.rule, OneOf):
        option = options.choice(flag, text, *kind.rule.names)
    elif kind.written is not None:
        option = typer.Option(flag, help=text, metavar=kind.written.example)
    else:
        option = typer.Option(flag, help=text, show_default=False)
    plain: Any = str if kind.plain is tuple or kind.word else kind.plain
    return setting.name, Annotated[plain | None, option], field(default=None)


def _options() -> list[tuple[str, Any, Any]]:
    sentences = {name: first_sentence(text) for name, text in field_docstrings(TrainConfig).items()}
    name = typer.Option(metavar="NAME", help="Start from published settings, e.g. tofu-npo.")
    file = typer.Option(metavar="FILE.yaml", help="Read settings from this file; options override them.")
    return [
        ("preset", Annotated[str | None, name], field(default=None)),
        ("config", Annotated[Path | None, file], field(default=None)),
        *(_option(each, sentences.get(each.name, "")) for each in fields(TrainConfig) if each.name not in ELSEWHERE),
    ]


_SettingOptions: Any = make_dataclass("_SettingOptions", _options(), frozen=True, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(_SettingOptions):
    """Settings of `TrainConfig`; those that are not given are as in the preset, the file, or its defaults."""

    def settings(self, seed: int) -> dict[str, Any]:
        """Merge the settings of the preset, the file and the options, later ones over earlier ones.

        Raises:
            DissectError: a preset or a file that does not exist, or numbers that cannot be read.
        """
        merged: dict[str, Any] = {}
        if self.preset is not None:
            merged |= preset(self.preset)
        if self.config is not None:
            from dissect.unlearning.config.settings_file import read_settings

            TrainConfig.read(self.config)  # refused by itself, with its name
            merged |= read_settings(self.config)
        passed = {name: value for name, value in vars(self).items() if value is not None}
        for name, value in passed.items():
            if name in _LISTS:
                merged[name] = _LISTS[name](value, f"--{name}")
            elif name == "lr":
                merged[name] = values.number_or(value, "--lr", "auto")
            elif name not in ("preset", "config"):
                merged[name] = value
        return merged | {"seed": seed or merged.get("seed", 0)}
