"""Hand-made sweep results."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.metrics import metric as metrics_by_name
from dissect.sweep.assemble import assemble
from dissect.sweep.grid import GridPoint, windows
from dissect.sweep.results.sweep_result import SweepResult


def make_result(
    rows: Mapping[str, Sequence],
    *,
    layers: Sequence[int],
    component: str = "mlp_post",
    window: int = 5,
    prompts: int = 7,
    donor: str = "base",
) -> SweepResult:
    """A result of one component from rows as the runner gives them: recipient, donor, then one a layer."""
    values = {name: np.array(table, dtype=float) for name, table in rows.items()}
    n_prompts = next(iter(values.values())).shape[1]
    asked = _prompts(n_prompts, marker=prompts)
    points = [GridPoint(component, layer, members) for layer, members in windows(layers, window, max(layers) + 1)]
    spec = {"window": window, "donor": donor, "recipient": "unlearned", "scoring": "answer"}
    metrics = [metrics_by_name.get(name) for name in values]
    return assemble(points, values, asked, metrics, np.full(n_prompts, 3), spec)


def _prompts(count: int, *, marker: int) -> Prompts:
    """Prompts of two tokens, the first of which is ``marker``."""
    mask = torch.tensor([[False, True]]).repeat(count, 1)
    return Prompts(
        tokens=torch.tensor([[marker, 1]]).repeat(count, 1),
        lengths=torch.full((count,), 2),
        prompt_lengths=torch.full((count,), 1),
        answer_mask=mask,
        subject_mask=torch.zeros_like(mask),
        prompt_texts=tuple(f"prompt {i}" for i in range(count)),
        answer_texts=tuple(f"answer {i}" for i in range(count)),
        facts=tuple(Fact(question=f"prompt {i}", answer=f"answer {i}") for i in range(count)),
        answers="gold",
    )
