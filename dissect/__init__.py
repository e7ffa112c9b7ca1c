"""What did unlearning do to a language model? Patch, restore and measure, on hooked models.

The public names are imported when they are first used, so that ``import dissect`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dissect import plots as plots
    from dissect.attacks.relearn.relearn import relearn as relearn
    from dissect.attacks.relearn.relearned import Relearning as Relearning
    from dissect.autopsy.asking.explorer import explore as explore
    from dissect.autopsy.asking.own_question import ask as ask
    from dissect.autopsy.interactive.notebook import pick as pick
    from dissect.autopsy.report import report as report
    from dissect.data.facts import Fact as Fact
    from dissect.data.facts import Facts as Facts
    from dissect.data.prompts import Prompts as Prompts
    from dissect.data.world import World as World
    from dissect.errors import DissectError as DissectError
    from dissect.evaluation.evaluate import evaluate as evaluate
    from dissect.evaluation.evaluation_result import Evaluation as Evaluation
    from dissect.evaluation.hooked_lm import hooked_lm as hooked_lm
    from dissect.evaluation.self_check import self_check as self_check
    from dissect.measures.representation.drift import drift as drift
    from dissect.measures.representation.drift_map import Drift as Drift
    from dissect.metrics.metric import Metric as Metric
    from dissect.models.alignment import Alignment as Alignment
    from dissect.models.changing.quantised import quantised as quantised
    from dissect.models.files.load import load as load
    from dissect.models.files.save import save_hf as save_hf
    from dissect.models.pair import ModelPair as ModelPair
    from dissect.models.pair import load_pair as load_pair
    from dissect.models.sharding.sharded import shard as shard
    from dissect.patching.attribute import attribute as attribute
    from dissect.patching.attribution_result import AttributionResult as AttributionResult
    from dissect.patching.lens_table import LensTable as LensTable
    from dissect.patching.logit_attribution import logit_attribution as logit_attribution
    from dissect.patching.logit_lens import logit_lens as logit_lens
    from dissect.patching.logit_result import LogitAttribution as LogitAttribution
    from dissect.patching.patch import patch as patch
    from dissect.restoration.restore import restore as restore
    from dissect.restoration.smallest import smallest_set as smallest_set
    from dissect.restoration.smallest_result import SmallestSet as SmallestSet
    from dissect.restoration.transplant import restored as restored
    from dissect.restoration.transplant import transplant as transplant
    from dissect.sweep.cache import CacheOptions as CacheOptions
    from dissect.sweep.results.compare import compare as compare
    from dissect.sweep.results.join import concat as concat
    from dissect.sweep.results.sweep_result import SweepResult as SweepResult
    from dissect.unlearning.config.train_config import TrainConfig as TrainConfig
    from dissect.unlearning.requests import unlearn_requests as unlearn_requests
    from dissect.unlearning.run.trainer import Trainer as Trainer
    from dissect.unlearning.run.watch import Watch as Watch
    from dissect.unlearning.unlearn import UnlearningRun as UnlearningRun
    from dissect.unlearning.unlearn import unlearn as unlearn
    from dissect.verdicts.result import Verdicts as Verdicts

_HOMES = {
    "Alignment": "dissect.models.alignment",
    "AttributionResult": "dissect.patching.attribution_result",
    "CacheOptions": "dissect.sweep.cache",
    "DissectError": "dissect.errors",
    "Drift": "dissect.measures.representation.drift_map",
    "Evaluation": "dissect.evaluation.evaluation_result",
    "Fact": "dissect.data.facts",
    "Facts": "dissect.data.facts",
    "LensTable": "dissect.patching.lens_table",
    "LogitAttribution": "dissect.patching.logit_result",
    "Metric": "dissect.metrics.metric",
    "ModelPair": "dissect.models.pair",
    "Prompts": "dissect.data.prompts",
    "Relearning": "dissect.attacks.relearn.relearned",
    "SmallestSet": "dissect.restoration.smallest_result",
    "SweepResult": "dissect.sweep.results.sweep_result",
    "TrainConfig": "dissect.unlearning.config.train_config",
    "Trainer": "dissect.unlearning.run.trainer",
    "Verdicts": "dissect.verdicts.result",
    "UnlearningRun": "dissect.unlearning.unlearn",
    "Watch": "dissect.unlearning.run.watch",
    "World": "dissect.data.world",
    "ask": "dissect.autopsy.asking.own_question",
    "attribute": "dissect.patching.attribute",
    "compare": "dissect.sweep.results.compare",
    "concat": "dissect.sweep.results.join",
    "drift": "dissect.measures.representation.drift",
    "evaluate": "dissect.evaluation.evaluate",
    "explore": "dissect.autopsy.asking.explorer",
    "hooked_lm": "dissect.evaluation.hooked_lm",
    "load": "dissect.models.files.load",
    "load_pair": "dissect.models.pair",
    "logit_attribution": "dissect.patching.logit_attribution",
    "logit_lens": "dissect.patching.logit_lens",
    "patch": "dissect.patching.patch",
    "pick": "dissect.autopsy.interactive.notebook",
    "quantised": "dissect.models.changing.quantised",
    "relearn": "dissect.attacks.relearn.relearn",
    "report": "dissect.autopsy.report",
    "restore": "dissect.restoration.restore",
    "restored": "dissect.restoration.transplant",
    "save_hf": "dissect.models.files.save",
    "self_check": "dissect.evaluation.self_check",
    "shard": "dissect.models.sharding.sharded",
    "smallest_set": "dissect.restoration.smallest",
    "transplant": "dissect.restoration.transplant",
    "unlearn": "dissect.unlearning.unlearn",
    "verdict": "dissect.verdicts.verdict",
    "unlearn_requests": "dissect.unlearning.requests",
}
"""Public name to the module that defines it."""

_ROOMS = ("plots",)
"""Public names that are packages."""

__all__ = [*_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"dissect.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'dissect' has no attribute {name!r}")
    public = getattr(import_module(_HOMES[name]), name)
    globals()[name] = public
    return public


def __dir__() -> list[str]:
    return sorted(__all__)
