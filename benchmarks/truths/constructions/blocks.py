"""Suppressed by training one part of one or two layers, everything else frozen: put the part back and all is there."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.utils import parametrize

from benchmarks.truths.bench import Bench
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.settings import FORGOTTEN, Settings
from benchmarks.truths.unlearning import Unlearning, holding, unlearn

PARTS = {
    "mlp": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    "attention": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
}
ADAPTED = {"mlp": ("mlp.up_proj", "mlp.down_proj"), "attention": ("self_attn.q_proj", "self_attn.v_proj")}
"""Matrices that get low-rank adapters."""
RANK = 4
LR, ADAPTER_LR, STEPS = 1e-3, 4e-3, 240
TARGET = FORGOTTEN - 0.1
TRAINED: tuple[tuple[str, str, str, float], ...] = (
    ("mlp", "late", "npo", 0.0),
    ("mlp", "late", "npo", 2.0),
    ("mlp", "late", "ga", 0.0),
    ("mlp", "late", "undial", 0.0),
    ("mlp", "late", "undial", 2.0),
    ("mlp", "late", "wrong", 1.0),
    ("mlp", "late", "refusal", 1.0),
    ("mlp", "middle", "npo", 0.0),
    ("mlp", "middle", "undial", 1.0),
    ("mlp", "middle", "wrong", 0.0),
    ("mlp", "middle", "refusal", 0.0),
    ("mlp", "early", "npo", 0.0),
    ("mlp", "early", "ga", 1.0),
    ("mlp", "early", "refusal", 1.0),
    ("attention", "late", "npo", 0.0),
    ("attention", "middle", "npo", 1.0),
    ("attention", "middle", "wrong", 0.0),
    ("attention", "early", "undial", 0.0),
)
"""Part, where, method, and how far beyond the target."""
ADAPTERS: tuple[tuple[str, str, str, float], ...] = (
    ("mlp", "early", "npo", 0.0),
    ("mlp", "middle", "refusal", 1.0),
    ("mlp", "late", "wrong", 0.0),
    ("attention", "middle", "npo", 0.0),
)


def layers_at(settings: Settings, where: str) -> tuple[int, ...]:
    """Numbers of the layers that ``where`` names."""
    return tuple(getattr(settings, where))


def parameters_of(part: str, layers: tuple[int, ...]) -> tuple[str, ...]:
    """Their names in the files."""
    return tuple(f"model.layers.{layer}.{module}.weight" for layer in layers for module in PARTS[part])


def block(bench: Bench, part: str, where: str, method: str, beyond: float, label: str) -> Made:
    """Every weight of that part of those layers is trained."""
    model = bench.fresh("base")
    names = parameters_of(part, layers_at(bench.settings, where))
    how = Unlearning(method, lr=LR, steps=STEPS, beyond=beyond, target=TARGET, retain=holding(method), names=names)
    return Made(model=model, how={"part": part, "where": where} | unlearn(bench, model, how, label), undo={})


def adapter(bench: Bench, part: str, where: str, method: str, beyond: float, label: str) -> Made:
    """A low-rank adapter on the first of those layers is trained, and merged."""
    model = bench.fresh("base")
    layer = layers_at(bench.settings, where)[0]
    modules = [model.get_submodule(f"model.layers.{layer}.{module}") for module in ADAPTED[part]]
    generator = bench.generator(f"adapter {label}")
    for module in modules:
        parametrize.register_parametrization(module, "weight", LowRank(module, generator))
    names = [name for name, _ in model.named_parameters() if name.endswith((".down", ".up"))]
    how = Unlearning(
        method, lr=ADAPTER_LR, steps=STEPS, beyond=beyond, target=TARGET, retain=holding(method), names=names
    )
    made = unlearn(bench, model, how, label)
    for module in modules:
        parametrize.remove_parametrizations(module, "weight")
    return Made(model=model, how={"part": part, "layer": layer, "rank": RANK} | made, undo={})


class LowRank(Module):
    """W + up down, with up zero at first."""

    def __init__(self, module: Module, generator: torch.Generator) -> None:
        """Factors for a linear module."""
        super().__init__()
        out, width = module.weight.shape  # type: ignore[misc]
        self.down = Parameter(torch.randn(RANK, int(width), generator=generator) / int(width) ** 0.5)
        self.up = Parameter(torch.zeros(int(out), RANK))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight."""
        return weight + self.up @ self.down


def recipes() -> list[Recipe]:
    """All of them."""
    recipe = partial(Recipe, kind="suppressed", dose=1.0, exact=True)
    made = []
    for part, where, method, beyond in TRAINED:
        name = f"{part}-{where}-{method}-{beyond:g}"
        make = partial(block, part=part, where=where, method=method, beyond=beyond, label=name)
        made.append(recipe(name=name, family=f"{part} of {where} layers", make=make))
    for part, where, method, beyond in ADAPTERS:
        name = f"adapter-{part}-{where}-{method}-{beyond:g}"
        make = partial(adapter, part=part, where=where, method=method, beyond=beyond, label=name)
        made.append(recipe(name=name, family="low-rank adapter", make=make))
    return made
