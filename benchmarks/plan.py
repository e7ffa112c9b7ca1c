"""Predictions of `dissect plan`, against the memory that sweeps and training take on the CPU.

    python benchmarks/plan.py [--rounds 3]
    python benchmarks/plan.py --recipes
    python benchmarks/plan.py --commands

Random checkpoints of a few hundred megabytes, of unlike shapes. Each job runs in a process of its own; its peak is the
growth of the resident memory over what it was after the imports (a tiny checkpoint is swept and trained first, so that
all imports are done). Ratios are predicted / measured, for the median of the rounds; the limit is 15 %.

With --commands it is the commands that are measured: how long `dissect plan` and `dissect inspect` take to answer about
a configuration, and in how much memory, beside `import torch`; the best of the rounds.

With --recipes nothing is measured: the table is what `dissect plan --gpu-memory 80GB --dtype bfloat16` says of models
of 1 to 70 billion parameters.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT = 0.15
BATCH, LENGTH, ANSWER = 8, 64, 24
TINY = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama, 6 layers of 768, 32,000 words": (
        "LlamaForCausalLM",
        {
            "vocab_size": 32000,
            "hidden_size": 768,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
        },
    ),
    "GPT-NeoX, 14 layers of 512, 12,000 words": (
        "GPTNeoXForCausalLM",
        {
            "vocab_size": 12000,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 14,
            "num_attention_heads": 8,
        },
    ),
    "GPT-2, 6 layers of 640, 50,257 words, tied": (
        "GPT2LMHeadModel",
        {"vocab_size": 50257, "n_embd": 640, "n_layer": 6, "n_head": 10, "n_positions": 512},
    ),
}
JOBS = ("patch", "unlearn ga", "unlearn undial", "unlearn lora")


def main() -> None:
    """Make checkpoints, run every job on each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipes", action="store_true")
    parser.add_argument("--commands", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return
    if arguments.recipes:
        recipes()
        return
    if arguments.commands:
        commands(arguments.rounds)
        return
    worst = 0.0
    with tempfile.TemporaryDirectory() as directory:
        run("make", directory)
        print(f"{'checkpoint':<44}{'job':<16}{'weights MB':>11}{'predicted MB':>13}{'measured MB':>12}{'ratio':>7}")
        for number, title in enumerate(MODELS):
            for job in JOBS:
                found = [run(job, str(Path(directory, str(number)))) for _ in range(arguments.rounds)]
                measured = statistics.median(one["peak"] for one in found)
                predicted, weights = found[0]["predicted"], found[0]["weights"]
                worst = max(worst, abs(predicted / measured - 1))
                sizes = f"{weights / 1e6:>11.0f}{predicted / 1e6:>13.0f}{measured / 1e6:>12.0f}"
                print(f"{title:<44}{job:<16}{sizes}{predicted / measured:>7.2f}", flush=True)
    print(f"furthest from 1: {worst:.2f} (limit {LIMIT})")
    sys.exit(worst > LIMIT)


SHAPES = {
    "1B": (128256, 2048, 8192, 16, 32, 8, True),
    "7B": (32000, 4096, 11008, 32, 32, 32, False),
    "8B": (128256, 4096, 14336, 32, 32, 8, False),
    "13B": (32000, 5120, 13824, 40, 40, 40, False),
    "70B": (128256, 8192, 28672, 80, 64, 8, False),
}
"""Vocabulary, width, width of the MLP, layers, heads, key/value heads, tied: Llama 3.2, 2, 3.1, 2 and 3.1."""
RECIPES: dict[str, dict[str, Any]] = {
    "sweep, 32 texts at a time": {},
    "sweep of 32 texts, one model at a time": {"sequential": True, "n_facts": 32},
    "unlearning, 8 texts at a time": {"train": True, "batch_size": 8},
    "UnDIAL, 8 texts at a time": {"train": True, "batch_size": 8, "method": "undial"},
    "unlearning, bfloat16 in place": {"train": True, "batch_size": 8, "bf16_inplace": True},
    "value vectors alone (mlp.W_out)": {"train": True, "batch_size": 8, "blocks": ("mlp.W_out",)},
    "adapters of rank 8": {"train": True, "batch_size": 8, "lora_rank": 8},
}


def recipes(memory: int = 80 * 10**9) -> None:
    """Peak in one process, and the number of GPUs with the peak of each."""
    from dissect.models.sizes import sizes_of
    from dissect.planning.job import Job
    from dissect.planning.plan import USABLE, plan

    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    names += ("num_key_value_heads", "tie_word_embeddings")
    shapes = [dict(zip(names, shape, strict=True)) for shape in SHAPES.values()]
    llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 8192}
    models = [sizes_of({**shape, **llama}) for shape in shapes]
    print("| job | " + " | ".join(SHAPES) + " |")
    print("|---" * (1 + len(SHAPES)) + "|")
    print("| parameters | " + " | ".join(f"{sizes.n_parameters / 1e9:.2f} billion" for sizes in models) + " |")
    for title, settings in RECIPES.items():
        job, cells = Job(dtype="bfloat16", gpu=True, **settings), []
        for sizes in models:
            ranks = 1
            while plan(sizes, job, ranks=ranks).peak > USABLE * memory:
                ranks *= 2
            peaks = [plan(sizes, job, ranks=n).peak / 1e9 for n in (1, ranks)]
            sharded = f"; {ranks} x {peaks[1]:.0f} GB" if ranks > 1 and not job.sequential else ""
            cells.append(f"{peaks[0]:.{1 if peaks[0] < 10 else 0}f} GB{sharded}")
        print(f"| {title} | " + " | ".join(cells) + " |")


def commands(rounds: int) -> None:
    """Time and memory of commands that answer from a configuration, each in fresh processes."""
    with tempfile.TemporaryDirectory() as directory:
        names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
        Path(directory, "config.json").write_text(json.dumps(dict(zip(names, SHAPES["8B"], strict=False)) | llama))
        dissect = ["-m", "dissect"]
        print(f"{'command':<24}{'s':>7}{'MB':>7}")
        for words in ([*dissect, "plan", directory], [*dissect, "inspect", directory], ["-c", "import torch"]):
            taken = [timed([sys.executable, *words]) for _ in range(rounds)]
            seconds, memory = (min(column) for column in zip(*taken, strict=True))
            title = " ".join(word for word in words if word not in ("-m", "-c", directory))
            print(f"{title:<24}{seconds:>7.2f}{memory / 1e6:>7.0f}", flush=True)


def timed(words: list[str]) -> tuple[float, int]:
    """Seconds and peak bytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def run(task: str, directory: str) -> dict[str, Any]:
    """One task in a process of its own; a child starts with its parent's peak, so this one stays small."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", task, directory],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(task: str, directory: str) -> dict[str, Any]:
    """Bytes of the peak, of what was predicted and of the weights."""
    if task == "make":
        return make(directory)
    import resource

    from dissect.models.sizes import sizes_of
    from dissect.planning.job import Job
    from dissect.planning.plan import plan

    job(task, Path(directory).with_name("tiny"), vocab=64)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize()
    config = json.loads(Path(directory, "config.json").read_text())
    job(task, Path(directory), vocab=config["vocab_size"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    sizes = sizes_of(config)
    kind, *method = task.split()
    asked = Job(
        train=kind == "unlearn",
        method="undial" if method == ["undial"] else "ga",
        lora_rank=8 if method == ["lora"] else 0,
        batch_size=BATCH,
        length=LENGTH,
        answer=ANSWER,
        n_facts=4 * BATCH,
    )
    predicted = plan(sizes, asked).peak
    return {"peak": peak, "predicted": predicted, "weights": 4 * sizes.n_parameters}


def make(directory: str) -> dict[str, Any]:
    """Random checkpoints, each twice."""
    import torch
    import transformers

    models = {str(number): model for number, model in enumerate(MODELS.values())}
    for name, (kind, settings) in {"tiny": ("LlamaForCausalLM", TINY), **models}.items():
        for seed, suffix in enumerate(("", "-other")):
            torch.manual_seed(seed)
            model_class = getattr(transformers, kind)
            model_class(model_class.config_class(**settings)).save_pretrained(Path(directory, name + suffix))
    return {}


def job(task: str, directory: Path, *, vocab: int) -> None:
    """The job that is measured: two batches of a sweep over all layers, or four steps of training."""
    import dissect

    kind, *method = task.split()
    if kind == "patch":
        pair = dissect.load_pair(directory, f"{directory}-other", device="cpu", progress=False)
        dissect.patch(pair, prompts(2 * BATCH, vocab), batch_size=BATCH, progress=False)
        return
    model = dissect.load(directory, device="cpu", progress=False)
    settings: dict[str, Any] = {"lora_rank": 8} if method == ["lora"] else {}
    with tempfile.TemporaryDirectory() as out:
        dissect.unlearn(
            model,
            forget=prompts(4 * BATCH, vocab),
            method="undial" if method == ["undial"] else "ga",
            batch_size=BATCH,
            epochs=1,
            checkpoint_every=2,
            out=Path(out, "run"),
            progress=False,
            **settings,
        )


def prompts(count: int, vocab: int) -> Any:
    """Random tokens, the last of which are the answer."""
    import torch

    from dissect.data.fact import Fact
    from dissect.data.prompts import Prompts

    answer = torch.zeros(count, LENGTH, dtype=torch.bool)
    answer[:, LENGTH - ANSWER :] = True
    return Prompts(
        tokens=torch.randint(0, vocab, (count, LENGTH), generator=torch.Generator().manual_seed(0)),
        lengths=torch.full((count,), LENGTH),
        prompt_lengths=torch.full((count,), LENGTH - ANSWER),
        answer_mask=answer,
        subject_mask=torch.zeros_like(answer),
        prompt_texts=("",) * count,
        answer_texts=("",) * count,
        facts=(Fact(text="random tokens"),) * count,
        answers="gold",
    )


if __name__ == "__main__":
    main()
