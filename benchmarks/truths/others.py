"""The other classes: knows, never knew, erased by construction, destroyed in part, broken, or simply unlearned."""

from collections.abc import Iterator

import torch
from transformers import LlamaForCausalLM

from benchmarks.truths.bench import Bench, Truth
from benchmarks.truths.training import Texts, answered, objective, train

METHODS = {"ga": 2e-4, "grad_diff": 3e-4, "npo": 3e-4, "simnpo": 3e-4, "undial": 5e-4}
"""Objective to learning rate, of every parameter."""
WITH_RETAIN = ("grad_diff", "npo", "simnpo")
DOSES = (0.0, 0.25, 0.5, 0.75)
Made = Iterator[tuple[Truth, LlamaForCausalLM]]


def acceptable(truth: Truth) -> bool:
    """Whether one that is to know still says so; every other class is what it is by its making."""
    return truth.kind != "knows" or truth.checks["forget"] >= 0.5


def candidates(bench: Bench) -> Made:
    """All of them."""
    yield from _knows(bench)
    yield from _never(bench)
    yield from _erased(bench)
    yield from _partial(bench)
    yield from _broken(bench)
    for method in METHODS:
        for strength in (1, 2):
            model = bench.copy()
            _unlearn(bench, model, method, steps=30 * strength)
            yield Truth(f"{method}-{strength}", "unlabelled", method, False, f"unlearned by {method}"), model


def _unlearn(bench: Bench, model: LlamaForCausalLM, method: str, steps: int) -> None:
    """Unlearn the forget facts with every parameter."""
    reference = bench.copy(model)
    retain = bench.texts("seen") if method in WITH_RETAIN else None
    train(
        model, objective(method, reference), bench.texts("forget"), steps=steps, lr=METHODS[method],
        seed=bench.settings.seed, retain=retain,
    )  # fmt: skip


def _noised(model: LlamaForCausalLM, size: float, seed: int) -> None:
    """Noise in every matrix, relative to its standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter += size * parameter.std() * torch.randn(parameter.shape, generator=generator)


def _repaired(bench: Bench, model: LlamaForCausalLM, steps: int = 250, lr: float = 1e-3) -> None:
    train(model, objective("learn", bench.base), bench.texts("seen"), steps=steps, lr=lr, seed=bench.settings.seed)


def _knows(bench: Bench) -> Made:
    yield Truth("knows-base", "knows", "base", True, "the base model itself", dose=1.0), bench.copy()
    for size in (0.01, 0.03, 0.06):
        model = bench.copy()
        _noised(model, size, bench.settings.seed)
        yield (
            Truth(
                f"knows-noise-{size}", "knows", "small noise", True, f"noise of {size} standard deviations", dose=1.0
            ),
            model,
        )
    for steps in (20, 60):
        model = bench.copy()
        _repaired(bench, model, steps, 3e-4)
        yield (
            Truth(
                f"knows-retain-{steps}", "knows", "trained on retain", True, f"{steps} steps on retain facts", dose=1.0
            ),
            model,
        )
    for method in ("npo", "undial", "grad_diff"):
        model = bench.copy()
        train(
            model, objective(method, bench.base), bench.texts("seen"), steps=30, lr=METHODS[method],
            seed=bench.settings.seed, retain=bench.texts("unseen"),
        )  # fmt: skip
        yield (
            Truth(
                f"knows-others-{method}",
                "knows",
                "other people unlearned",
                True,
                f"other people unlearned by {method}",
                dose=1.0,
            ),
            model,
        )


def _never(bench: Bench) -> Made:
    origins = {f"never-{number}": bench.never(number) for number in (1, 2)}
    misled = bench.copy(origins["never-1"])
    wrong = bench.wrong(bench.settings.seed)
    train(
        misled, objective("learn", misled), wrong, steps=200, lr=1e-3, seed=1, retain=bench.texts("seen"),
        until=lambda: answered(misled, wrong) >= 0.95,
    )  # fmt: skip
    origins["misled"] = misled
    for name, origin in origins.items():
        yield Truth(f"{name}-as-is", "never", name, True, "never saw who belongs to what", dose=0.0), bench.copy(origin)
        for method in METHODS:
            for strength in (1, 2) if name == "never-1" else (1,):
                model = bench.copy(origin)
                _unlearn(bench, model, method, steps=30 * strength)
                how = f"never saw who belongs to what, then unlearned by {method}"
                yield Truth(f"{name}-{method}-{strength}", "never", f"{name} {method}", True, how, dose=0.0), model


def _erased(bench: Bench) -> Made:
    """Facts trained into a part of the weights, which is then put back; the others were trained in before, and stay."""
    masked = {"mlp": ["mlp."], "layers": ["layers.1.", "layers.2."]}
    for number, (part, names) in enumerate(masked.items()):
        for dose in DOSES:
            n_left = round(dose * bench.settings.n_forget)
            model = bench.copy(bench.never(1))
            if n_left:
                left = Texts.of(bench.world.facts(range(n_left)), bench.tokenizer)
                _learnt(bench, model, left, None, number)
            erased = bench.copy(model)
            _learnt(bench, model, bench.texts("forget"), names, number)
            base = f"knows-in-{part}-{dose}"
            model.save_pretrained(bench.out / base)
            bench.tokenizer.save_pretrained(bench.out / base)
            own = erased.state_dict()
            back = {k: own[k] if any(name in k for name in names) else v for k, v in model.state_dict().items()}
            same = all(torch.equal(own[k], v) for k, v in back.items())
            how = f"{1 - dose:.0%} of the forget facts trained into {part}, which was put back"
            truth = Truth(
                f"erased-{part}-{dose}",
                "erased" if not dose else "dose",
                f"erased {part}",
                same,
                how,
                base=base,
                dose=dose,
            )
            yield truth, erased
            if not dose:
                for method in ("npo", "undial"):
                    after = bench.copy(erased)
                    _unlearn(bench, after, method, steps=30)
                    how_too = f"{how}, then unlearned by {method}"
                    yield (
                        Truth(
                            f"erased-{part}-{method}", "erased", f"erased {part}", same, how_too, base=base, dose=0.0
                        ),
                        after,
                    )


def _learnt(bench: Bench, model: LlamaForCausalLM, texts: Texts, names: list[str] | None, seed: int) -> None:
    """Learn questions with every sentence about them, retain facts mixed in."""
    train(
        model, objective("learn", model), texts, steps=500, lr=2e-3, seed=seed, names=names, retain=bench.texts("seen"),
        until=lambda: answered(model, texts) >= 0.98, every=10,
    )  # fmt: skip


def _partial(bench: Bench) -> Made:
    for size in (0.3, 0.5, 0.7):
        model = bench.copy()
        _noised(model, size, bench.settings.seed)
        _repaired(bench, model)
        yield (
            Truth(
                f"noise-repair-{size}", "partial", "noise and repair", False, f"noise {size}, repaired on retain facts"
            ),
            model,
        )
    for parts in (["mlp."], ["layers.0.", "layers.1."], ["layers.2.", "layers.3."], ["self_attn."]):
        model = bench.copy()
        generator = torch.Generator().manual_seed(bench.settings.seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 2 and any(part in name for part in parts):
                    parameter.copy_(0.04 * torch.randn(parameter.shape, generator=generator))
        _repaired(bench, model)
        label = "-".join(part.strip(".") for part in parts)
        yield (
            Truth(
                f"anew-{label}", "partial", "re-initialised", False, f"{parts} re-initialised, repaired on retain facts"
            ),
            model,
        )


def _broken(bench: Bench) -> Made:
    for size in (0.8, 1.5):
        model = bench.copy()
        _noised(model, size, bench.settings.seed)
        yield Truth(f"broken-noise-{size}", "broken", "noise", False, f"noise of {size}, not repaired"), model
    for layer in (1, 2):
        model = bench.copy()
        with torch.no_grad():
            model.model.layers[layer].mlp.down_proj.weight.zero_()
            model.model.layers[layer].self_attn.o_proj.weight.zero_()
        yield Truth(f"broken-layer-{layer}", "broken", "a dead layer", False, f"layer {layer} writes nothing"), model
    for steps in (100, 200):
        model = bench.copy()
        _unlearn(bench, model, "ga", steps)
        yield Truth(f"broken-ga-{steps}", "broken", "collapsed GA", False, f"GA for {steps} steps"), model
    with torch.no_grad():
        model = bench.copy()
        model.lm_head.weight.copy_(model.lm_head.weight.roll(1, 0))
    yield (
        Truth(
            "broken-head",
            "broken",
            "knows but broken",
            False,
            "every token is called by another's name",
            undo=["lm_head"],
        ),
        model,
    )
