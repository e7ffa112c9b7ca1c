"""`Metric`, a number on answer positions, and the catalogue of metrics."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dissect.errors import DissectError
from dissect.keywords import keywords


@dataclass(frozen=True)
class Scored:
    """Input of a metric: float32 logits at the scored positions of a batch."""

    logits: Float[Tensor, "scored d_vocab"]
    """Logits of the model that is measured."""
    reference: Float[Tensor, "scored d_vocab"]
    """Logits of the donor, at the same positions of the same texts."""
    targets: Int[Tensor, " scored"]
    """The answer's tokens; -100 where there is none."""
    foils: Int[Tensor, " scored"] | None = None
    """A wrong answer's token at the one position where it parts from the answer, -100 elsewhere; see
    ``dissect.data.foils``. None where nothing that is measured asks for it."""


Reduction = Literal["mean", "mean_present", "exp_mean", "min"]
"""From the scored positions of a prompt to one number: the mean (NaN if any is NaN), the mean of those that are not
NaN (NaN if none is), exp of the mean (of log-probabilities: the geometric mean of the probabilities), the smallest."""


@keywords(renamed={"measure": "score"})
@keywords(renamed={"measure": "score"})
@dataclass(frozen=True)
class Metric:
    """A quantity for each scored position, reduced over the positions of a prompt.

    ``recovery`` needs only its value in the patched model, the recipient and the donor, so a distance to the
    donor (0 in the donor itself) and a score (such as the answer's log-probability) are handled alike.

    A metric of your own can stand wherever the name of a metric can::

        def entropy(scored):
            p = scored.logits.softmax(-1)
            return -(p * p.log()).sum(-1)

        dissect.patch(pair, prompts, metrics=["krs", Metric(name="entropy", label="entropy", score=entropy)])

    Raises:
        DissectError: an empty name, or a direction or reduction that does not exist.
    """

    name: str
    """Name used in calls and in results."""
    label: str
    """Label on axes."""
    score: Callable[[Scored], Float[Tensor, " scored"]]
    """Maps the logits at the scored positions to one number each."""
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    """Which direction is nearer to knowing the answer."""
    needs_targets: bool = False
    """True if it reads ``targets``: it is then undefined where some position has none."""
    needs_foils: bool = False
    """True if it reads ``foils``."""
    reduction: Reduction = "mean"
    """From positions to prompts."""
    smooth: bool = True
    """True if it has a useful gradient with respect to the logits; counts and ranks have none."""
    squared_distance: bool = False
    """True if it is the mean squared difference of the logits, which a sweep can compute without the logits."""

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        if not self.name.strip():
            raise DissectError(
                f"a metric's name is {self.name!r}: results and figures need one, for instance 'entropy'"
            )
        for field, value, known in (
            ("better", self.better, ("lower", "higher")),
            ("reduction", self.reduction, get_args(Reduction)),
        ):
            if value not in known:
                raise DissectError(f"metric {self.name!r}: {field}={value!r}, choose from {', '.join(known)}")

    def per_prompt(self, scored: Scored, rows: Int[Tensor, " scored"], n_prompts: int) -> Float[Tensor, " prompt"]:
        """``score`` at each scored position, reduced over those of each prompt.

        Sums are in float64, so that they do not round. Differentiable wherever ``score`` is.

        Args:
            rows: the prompt that each scored position belongs to.

        Raises:
            DissectError: ``score`` gave something else than one number for each position, or it reads foils and
                there are none.
        """
        if self.needs_foils and scored.foils is None:
            raise DissectError(f"metric {self.name!r} compares with a foil, and none were given")
        try:
            values = self.score(scored)
        except Exception as error:  # whatever a metric of one's own does
            raise DissectError(f"metric {self.name!r} failed: {type(error).__name__}: {error}") from error
        if not isinstance(values, Tensor) or values.shape != rows.shape:
            seen = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise DissectError(
                f"metric {self.name!r} gave {seen}, expected a tensor of one number for each of {len(rows)} positions"
            )
        return self.reduced(values, rows, n_prompts)

    def reduced(
        self, values: Float[Tensor, " scored"], rows: Int[Tensor, " scored"], n_prompts: int
    ) -> Float[Tensor, " prompt"]:
        """From values at the scored positions to one a prompt, in float64."""
        return _reduce(values.double(), rows, n_prompts, self.reduction)


def _reduce(
    values: Float[Tensor, " scored"], rows: Int[Tensor, " scored"], n_prompts: int, how: Reduction
) -> Float[Tensor, " prompt"]:
    zeros = torch.zeros(n_prompts, dtype=values.dtype, device=values.device)
    present = ~values.isnan() if how == "mean_present" else None
    counted = torch.ones_like(values) if present is None else present.to(values.dtype)
    count = zeros.index_add(0, rows, counted)
    if how == "min":
        return torch.where(count > 0, zeros.scatter_reduce(0, rows, values, "amin", include_self=False), torch.nan)
    # ``where`` and not a product: the gradient of a position that does not count is then 0 and not NaN.
    total = zeros.index_add(0, rows, values if present is None else torch.where(present, values, 0.0))
    mean = torch.where(count > 0, total / count.clamp(min=1), torch.nan)
    return mean.exp() if how == "exp_mean" else mean


def get(name: "str | Metric") -> Metric:
    """Return the metric of that name, which module ``dissect.metrics.<name>`` holds as ``METRIC``; a Metric as it is.

    Raises:
        DissectError: there is none; the message lists those there are.
    """
    if isinstance(name, Metric):
        return name
    if name in _modules():
        metric = getattr(importlib.import_module(f"dissect.metrics.{name}"), "METRIC", None)
        if metric is not None:
            return metric
    raise DissectError(f"no metric {name!r}: choose from {', '.join(available())}")


def available() -> list[str]:
    """Return the names of all metrics on answer positions."""
    return [name for name in _modules() if hasattr(importlib.import_module(f"dissect.metrics.{name}"), "METRIC")]


def _modules() -> list[str]:
    package = importlib.import_module("dissect.metrics")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))
