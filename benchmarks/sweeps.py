"""How fast the four curves of the paper are, against the published procedure and TransformerLens's own loop.

    python benchmarks/sweeps.py [--layers 12 24 32] [--device cuda --dtype bfloat16]

Measures, in one run and on the same work (coefficients, attention, both, value vectors; window 5; ten prompts of 60
tokens of which 30 are scored; vocabulary 32,000, width 512):

(a) plain    the published procedure: transformers, hooks, a full forward pass and all logits for each cell, the weights
             restored from a copy of the state dict
(b) tl       TransformerLens's own way: run_with_hooks for each cell, the donor's cache, all logits
(c) dissect  `dissect.patch` and `dissect.restore`
floor        the matrix multiplications that no exact method can leave out, at the rate that each shape reaches here;
             and the same where every cell computes its logits, which the squared distance of KRS does not need

and prints the ratios and the largest difference between the recoveries.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import dissect
from dissect.data.fact import Fact
from dissect.data.prompts import Prompts
from dissect.models.build import make_contiguous

WIDTH, D_MLP, VOCABULARY, N_PROMPTS, LENGTH, SCORED, WINDOW = 512, 1376, 32_000, 10, 60, 30, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[12, 24, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    print(f"{arguments.device}, {arguments.dtype}, {torch.get_num_threads()} threads; seconds are medians")
    head = (
        "layers",
        "plain s",
        "tl s",
        "dissect s",
        "floor s",
        "with logits s",
        "plain/dissect",
        "tl/dissect",
        "dissect/floor",
        "/with logits",
        "max diff",
    )
    print("  ".join(f"{title:>13}" for title in head))
    for n_layers in arguments.layers:
        row = measure(n_layers, arguments.repeats, arguments.device, arguments.dtype)
        print("  ".join(f"{value:>13}" for value in row), flush=True)


def measure(n_layers: int, repeats: int, device: str, dtype: str) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as folder:
        directories = [make(n_layers, seed, Path(folder) / str(seed)) for seed in (0, 1)]
        pair, own = (dissect.load_pair(*directories, dtype=dtype, device=device, progress=False) for _ in range(2))
        for model in (own.base, own.unlearned):
            make_contiguous(model)  # as TransformerLens keeps its weights; dissect keeps them as the files do
        plain = [
            LlamaForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype)).to(device).eval()
            for directory in directories
        ]
    prompts = make_prompts()
    ways: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: plain_sweep(*plain, prompts),
        "tl": lambda: tl_sweep(own, prompts),
        "dissect": lambda: dissect_sweep(pair, prompts),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Tensor] = {}
    for _ in range(repeats):  # in turn, so that a machine that slows down slows all of them
        for name, way in ways.items():
            start = time.perf_counter()
            found[name] = way()
            times[name].append(time.perf_counter() - start)
    floor, with_logits = (
        floor_seconds(n_layers, device, getattr(torch, dtype), logits=logits) for logits in (False, True)
    )
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    ratios = [
        statistics.median([a / b for a, b in zip(times[k], times["dissect"], strict=True)]) for k in ("plain", "tl")
    ]
    difference = max(float((found[name] - found["dissect"]).abs().max()) for name in ("plain", "tl"))
    return (
        str(n_layers),
        *(f"{middle[name]:.2f}" for name in ways),
        f"{floor:.2f}",
        f"{with_logits:.2f}",
        *(f"{ratio:.2f}" for ratio in ratios),
        f"{middle['dissect'] / floor:.2f}",
        f"{middle['dissect'] / with_logits:.2f}",
        f"{difference:.1e}",
    )


def make(n_layers: int, seed: int, directory: Path) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=D_MLP,
        num_hidden_layers=n_layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        initializer_range=0.05,
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters() if seed else []:
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(directory)
    return directory


def make_prompts() -> Prompts:
    tokens = torch.randint(0, VOCABULARY, (N_PROMPTS, LENGTH))
    answer = torch.zeros(N_PROMPTS, LENGTH, dtype=torch.bool)
    answer[:, LENGTH - SCORED :] = True
    return Prompts(
        tokens=tokens,
        lengths=torch.full((N_PROMPTS,), LENGTH),
        prompt_lengths=torch.full((N_PROMPTS,), LENGTH - SCORED),
        answer_mask=answer,
        subject_mask=torch.zeros_like(answer),
        prompt_texts=("",) * N_PROMPTS,
        answer_texts=("",) * N_PROMPTS,
        facts=(Fact(text="random tokens"),) * N_PROMPTS,
        answers="gold",
    )


def dissect_sweep(pair: dissect.ModelPair, prompts: Prompts) -> Tensor:
    activations = dissect.patch(pair, prompts, window=WINDOW, progress=False)
    parameters = dissect.restore(pair, prompts, window=WINDOW, progress=False)
    recovery = [result.recovery("krs").values for result in (activations, parameters)]
    return torch.cat([torch.from_numpy(values) for values in recovery])


def windows(n_layers: int) -> list[list[int]]:
    return [
        [layer for layer in range(c - WINDOW // 2, c + WINDOW // 2 + 1) if 0 <= layer < n_layers]
        for c in range(n_layers)
    ]


def answer_loss(logits: Tensor, target: Tensor) -> Tensor:
    here = slice(LENGTH - SCORED - 1, LENGTH - 1)
    return (logits[:, here].float() - target[:, here].float()).pow(2).mean((1, 2)).double().cpu()


@torch.no_grad()
def plain_sweep(
    base: LlamaForCausalLM, unlearned: LlamaForCausalLM, prompts: Prompts, asked: Sequence[str] = ("m", "a", "ma", "v")
) -> Tensor:
    tokens = prompts.tokens.to(base.device)
    kept: dict[str, Tensor] = {}

    def keep_m(name: str) -> Callable:
        return lambda module, args: kept.update({name: args[0]})

    def keep_a(name: str) -> Callable:
        return lambda module, args, output: kept.update({name: output})

    handles = []
    for index, layer in enumerate(base.model.layers):
        handles.append(layer.mlp.down_proj.register_forward_pre_hook(keep_m(f"m{index}")))
        handles.append(layer.self_attn.o_proj.register_forward_hook(keep_a(f"a{index}")))
    target = base(input_ids=tokens, use_cache=False).logits
    for handle in handles:
        handle.remove()
    before = answer_loss(unlearned(input_ids=tokens, use_cache=False).logits, target)
    state = {name: value.clone() for name, value in unlearned.state_dict().items()}
    donor = base.state_dict()
    curves = []
    for parts in asked:
        losses = []
        for members in windows(len(base.model.layers)):
            handles = []
            for index in members:
                layer = unlearned.model.layers[index]
                if "m" in parts:
                    hook = lambda module, args, value=kept[f"m{index}"]: (value,)  # noqa: E731
                    handles.append(layer.mlp.down_proj.register_forward_pre_hook(hook))
                if "a" in parts:
                    hook = lambda module, args, output, value=kept[f"a{index}"]: value  # noqa: E731
                    handles.append(layer.self_attn.o_proj.register_forward_hook(hook))
                if parts == "v":
                    name = f"model.layers.{index}.mlp.down_proj.weight"
                    unlearned.state_dict()[name].copy_(donor[name])
            losses.append(answer_loss(unlearned(input_ids=tokens, use_cache=False).logits, target))
            for handle in handles:
                handle.remove()
            if parts == "v":
                unlearned.load_state_dict(state)
        curves.append(1 - torch.stack(losses) / before)
    return torch.stack(curves)


@torch.no_grad()
def tl_sweep(pair: dissect.ModelPair, prompts: Prompts) -> Tensor:
    base, unlearned = pair.base, pair.unlearned
    tokens = prompts.tokens.to(base.embed.W_E.device)
    n_layers = base.cfg.n_layers
    sites = {"m": "blocks.{}.mlp.hook_post", "a": "blocks.{}.hook_attn_out"}
    names = [site.format(layer) for site in sites.values() for layer in range(n_layers)]
    target, cache = base.run_with_cache(tokens, names_filter=lambda name: name in names)
    before = answer_loss(unlearned(tokens), target)

    def put(activation: Tensor, hook: object) -> Tensor:
        activation[:] = cache[hook.name]
        return activation

    curves = []
    for parts in ("m", "a", "ma", "v"):
        losses = []
        for members in windows(n_layers):
            own = [unlearned.blocks[layer].mlp.W_out.clone() for layer in members] if parts == "v" else []
            for layer in members if parts == "v" else []:
                unlearned.blocks[layer].mlp.W_out.copy_(base.blocks[layer].mlp.W_out)
            hooks = [(sites[part].format(layer), put) for part in parts if part != "v" for layer in members]
            losses.append(answer_loss(unlearned.run_with_hooks(tokens, fwd_hooks=hooks), target))
            for layer, weight in zip(members, own, strict=False):
                unlearned.blocks[layer].mlp.W_out.copy_(weight)
        curves.append(1 - torch.stack(losses) / before)
    return torch.stack(curves)


def floor_seconds(n_layers: int, device: str, dtype: torch.dtype, *, logits: bool) -> float:
    """Products that are left when everything that is known beforehand is left out; elementwise work counts nothing.

    In the last layer only the scored positions count, for all but keys and values. With ``logits`` every cell computes
    its logits; without, the squared distance alone, as a quadratic form (see ``dissect.sweep.quadratic``).
    """
    rows, scored, head = N_PROMPTS * LENGTH, N_PROMPTS * SCORED, WIDTH // 8

    def seconds(left: tuple[int, ...], right: tuple[int, ...], number: torch.dtype = dtype) -> float:
        return product_seconds(left, right, device, number)

    square, part_square = seconds((rows, WIDTH), (WIDTH, WIDTH)), seconds((scored, WIDTH), (WIDTH, WIDTH))
    up, part_up = seconds((rows, WIDTH), (WIDTH, D_MLP)), seconds((scored, WIDTH), (WIDTH, D_MLP))
    down, part_down = seconds((rows, D_MLP), (D_MLP, WIDTH)), seconds((scored, D_MLP), (D_MLP, WIDTH))
    unembed = seconds((scored, WIDTH), (WIDTH, VOCABULARY))
    heads = N_PROMPTS * 8
    mixing = seconds((heads, LENGTH, head), (heads, head, LENGTH)) + seconds(
        (heads, LENGTH, LENGTH), (heads, LENGTH, head)
    )
    attention = [4 * square + mixing] * (n_layers - 1) + [2 * square + 2 * part_square + mixing]
    downs = [down] * (n_layers - 1) + [part_down]
    mlp = [2 * up + down] * (n_layers - 1) + [2 * part_up + part_down]
    total = 4 * (sum(attention) + sum(mlp))  # base and unlearned, in either of the two sweeps
    total += sum(downs)  # the outputs that belong to the base model's coefficients, once a layer
    if logits:
        total += 4 * unembed
        read = unembed
    else:
        high = torch.float64
        once = seconds((WIDTH, VOCABULARY), (VOCABULARY, WIDTH), high)
        once += seconds((scored, VOCABULARY), (VOCABULARY, WIDTH), high)
        total += 2 * (2 * unembed + once)  # the donor's logits, and what the recipient would make of its states
        read = seconds((scored, WIDTH), (WIDTH, WIDTH), high)
    for members in windows(n_layers):
        after = slice(members[-1] + 1, None)
        rest = sum(attention[after]) + sum(mlp[after]) + read
        total += sum(attention[layer] for layer in members[1:]) + rest  # m: the first layer's attention is as it was
        total += sum(mlp[layer] for layer in members) + rest  # A
        total += rest  # m and A
        later = slice(members[0] + 1, None)
        total += downs[members[0]] + sum(attention[later]) + sum(mlp[later]) + read  # W_V
    return total


def product_seconds(left: tuple[int, ...], right: tuple[int, ...], device: str, dtype: torch.dtype) -> float:
    a = torch.randn(left, device=device, dtype=dtype)
    b = torch.randn(*right[:-2], right[-1], right[-2], device=device, dtype=dtype).mT  # as weights lie in memory
    times = []
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(5):
            a @ b
        if device != "cpu":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / 5)
    return statistics.median(times)


if __name__ == "__main__":
    main()
