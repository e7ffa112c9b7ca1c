"""Step time and peak memory of unlearning, against a bare loop and against transformers' Trainer, on the CPU.

    python benchmarks/training.py [--layers 8 --width 384 --vocab 32000 --steps 8 --rounds 3 --quick]

A random Llama, batches of 8 right-padded texts of 56 to 64 tokens with answers of 16 to 24. Everything is compared in
one run: in each round every way takes ``--steps`` steps over the same batches from the same weights, one way after the
other; the first two steps of a way, in which memory is taken for the first time, do not count. Seconds and tokens a
second are medians over all rounds, ratios the median of the rounds' ratios, with the lowest and the highest.

(a) bare       the same HookedTransformer: all logits, cross entropy, backward, clipping, the same fused AdamW
    dissect    `dissect.unlearn`, callback to callback, so with everything that a step entails; once also on plain
               texts, of which every token is scored
(b)            peak memory, each way in a process of its own
(c) Trainer    transformers' Trainer with compute_loss overridden, as open-unlearning has it: all logits, a copy of the
               model as reference that is run in every step, UnDIAL over every position

The texts' own tokens are counted, without padding. Where time is measured, freed memory stays with the process: a
virtual machine may take seconds to give it anew, which the ways that keep all logits would pay for most.
"""

import argparse
import contextlib
import gc
import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH, LENGTHS, ANSWERS, SKIPPED = 8, (56, 64), (16, 24), 2
LR, BETA, GAMMA, IGNORED = 1e-6, 0.1, 10.0, -100
KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}  # of glibc
TWO_SIDED = {"grad_diff": 2.4, "pdu": 2.4, "rmu": 2.4}
FEW, MANY, TOP_K, MEMORY_STEPS = 40, 200, 100, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--steps", type=int, default=8, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 1 is steadier on a busy machine")
    parser.add_argument("--quick", action="store_true", help="two rounds of four steps")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.rounds = 4, 2
    if arguments.steps <= SKIPPED:
        parser.error(f"--steps must be above {SKIPPED}")
    if arguments.child:
        logging.disable(logging.WARNING)  # the checkpoint has no tokenizer
        task, directory = arguments.child
        tasks = {"make": make, "steps": step_times}
        tasks.get(task, lambda *_: peak(task, directory, arguments))(directory, arguments)
        return
    print(f"load of the machine before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as directory:
        child("make", directory)
        child("steps", directory)
        print_memory(directory, arguments.rounds)
    print(f"\nload of the machine after: {os.getloadavg()[0]:.2f}")


def child(task: str, directory: str, *, read: bool = False) -> dict[str, float]:
    """One task in a process of its own; a child starts with its parent's peak, so this one stays small."""
    command = [sys.executable, __file__, *sys.argv[1:], "--child", task, directory]
    sys.stdout.flush()
    environment = os.environ | (KEPT_MEMORY if task == "steps" else {})
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE if read else None, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1])) if read else {}


def make(directory: str, arguments: argparse.Namespace) -> None:
    """A random Llama checkpoint."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=arguments.vocab,
        hidden_size=arguments.width,
        intermediate_size=arguments.width * 8 // 3,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.width // 64,
        num_key_value_heads=arguments.width // 64,
        initializer_range=0.05,
    )
    LlamaForCausalLM(config).save_pretrained(directory)


def make_prompts(n: int, vocab: int, *, whole: bool = False) -> Any:
    """Random facts; with ``whole`` plain texts, of which everything after the first token is scored."""
    import torch

    from dissect.data.fact import Fact
    from dissect.data.prompts import Prompts

    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(LENGTHS[0], LENGTHS[1] + 1, (n,), generator=generator)
    lengths[::BATCH] = LENGTHS[1]
    answers = torch.randint(ANSWERS[0], ANSWERS[1] + 1, (n,), generator=generator)
    starts = torch.ones(n, dtype=torch.int64) if whole else lengths - answers
    places = torch.arange(LENGTHS[1])
    mask = (places >= starts[:, None]) & (places < lengths[:, None])
    return Prompts(
        tokens=torch.randint(0, vocab, (n, LENGTHS[1]), generator=generator),
        lengths=lengths,
        prompt_lengths=starts,
        answer_mask=mask,
        subject_mask=torch.zeros_like(mask),
        prompt_texts=("",) * n,
        answer_texts=("",) * n,
        facts=(Fact(text="random tokens"),) * n,
        answers="gold",
    )


@dataclass
class Outcome:
    """One way in one round."""

    step: float
    """Median seconds of a step."""
    first_loss: float
    before: float = 0.0
    """Seconds before the first step: in dissect the reference is taken there."""


def timed(stamps: Sequence[float], first_loss: float, before: float = 0.0) -> Outcome:
    """Seconds of the steps, from the moments at which they ended; the first moment is the begin of the first step."""
    seconds = [after - begun for begun, after in itertools.pairwise(stamps)]
    return Outcome(statistics.median(seconds[SKIPPED:]), first_loss, before)


def step_times(directory: str, arguments: argparse.Namespace) -> None:
    """(a) and (c): all ways, in turn."""
    import torch
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    import dissect

    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    logging.disable_progress_bar()
    hooked = dissect.load(directory, device="cpu", progress=False)
    plain = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    reference = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32).eval().requires_grad_(False)
    n = BATCH * arguments.steps
    facts, texts = (make_prompts(n, arguments.vocab, whole=whole) for whole in (False, True))
    ways: dict[str, Callable[[], Outcome]] = {
        "bare ga": lambda: bare(hooked, facts),
        "dissect ga": lambda: ours(hooked, facts, method="ga"),
        "dissect npo": lambda: ours(hooked, facts, method="npo", beta=BETA),
        "dissect undial": lambda: ours(hooked, facts, method="undial", gamma=GAMMA),
        "dissect undial, every position": lambda: ours(
            hooked, facts, method="undial", gamma=GAMMA, variant="open_unlearning"
        ),
        **{
            f"dissect {name}": lambda name=name, settings=settings: ours(hooked, facts, method=name, **settings)
            for name, settings in other_methods(facts).items()
        },
        "bare ga, texts": lambda: bare(hooked, texts),
        "dissect ga, texts": lambda: ours(hooked, texts, method="ga"),
        "dissect npo, texts": lambda: ours(hooked, texts, method="npo", beta=BETA),
        "dissect undial, texts": lambda: ours(hooked, texts, method="undial", gamma=GAMMA),
        "Trainer ga": lambda: trainer(plain, None, facts, "ga", directory),
        "Trainer ga, fused AdamW": lambda: trainer(plain, None, facts, "ga", directory, optim="adamw_torch_fused"),
        "Trainer npo": lambda: trainer(plain, reference, facts, "npo", directory),
        "Trainer undial": lambda: trainer(plain, reference, facts, "undial", directory),
    }
    kept = {model: [p.detach().clone() for p in model.parameters()] for model in (hooked, plain)}
    found: dict[str, list[Outcome]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            with torch.no_grad():
                for model, values in kept.items():
                    for parameter, value in zip(model.parameters(), values, strict=True):
                        parameter.copy_(value)
            gc.collect()
            found[name].append(way())
    n_parameters = sum(p.numel() for p in plain.parameters()) / 1e6
    print(
        f"{arguments.layers} layers, width {arguments.width}, vocabulary {arguments.vocab}, {n_parameters:.0f} million "
        f"parameters; {torch.get_num_threads()} threads; {arguments.rounds} rounds of {arguments.steps} steps"
    )
    print_steps(found, int(facts.lengths.sum()) / arguments.steps)
    print_differences(found)


def other_methods(retain: Any) -> dict[str, dict[str, Any]]:
    """Settings of the methods whose steps are compared with those of GA; a retain side doubles a step."""
    return {
        "learn": {},
        "grad_diff": {"retain": retain},
        "max_entropy": {},
        "task_vector": {},
        "pdu": {"retain": retain, "retain_eps": 1.0},
        "rmu": {"retain": retain},
        "noise_and_repair": {"retain": retain},
        "undo": {"retain": retain},
    }


def print_steps(found: dict[str, list[Outcome]], n_tokens: float) -> None:
    print(f"\n{'':<32}{'s a step':>10}{'tokens/s':>10}{'before, s':>11}{'in steps':>10}")
    for name, outcomes in found.items():
        step, before = (statistics.median(getattr(o, key) for o in outcomes) for key in ("step", "before"))
        taken = f"{before:>11.2f}{before / step:>10.1f}" if "npo" in name or "undial" in name else f"{'':>21}"
        print(f"{name:<32}{step:>10.3f}{n_tokens / step:>10.0f}{taken if 'dissect' in name else ''}")
    print(f"\n{'step times':<58}{'ratio':>7}{'range':>16}{'target':>9}")
    rows = (
        ("dissect ga", "bare ga", 1.15),
        ("dissect ga, texts", "bare ga, texts", 1.15),
        ("dissect npo", "dissect ga", 1.2),
        ("dissect undial", "dissect ga", 1.2),
        ("dissect npo, texts", "dissect ga, texts", 1.2),
        ("dissect undial, texts", "dissect ga, texts", 1.2),
        *((f"dissect {name}", "dissect ga", TWO_SIDED.get(name, 1.2)) for name in other_methods(None)),
        ("dissect ga", "Trainer ga", 1.0),
        ("dissect ga", "Trainer ga, fused AdamW", 1.0),
        ("dissect npo", "Trainer npo", 1.0),
        ("dissect undial", "Trainer undial", 1.0),
        ("dissect undial, every position", "Trainer undial", 1.0),
    )
    for one, other, limit in rows:
        ratios = [a.step / b.step for a, b in zip(found[one], found[other], strict=True)]
        ratio, span = statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{f'{one} / {other}':<58}{ratio:>7.2f}{span:>16}{verdict(ratio, limit)}")


def print_differences(found: dict[str, list[Outcome]]) -> None:
    pairs = (
        ("dissect ga", "bare ga"),
        ("dissect ga, texts", "bare ga, texts"),
        ("dissect ga", "Trainer ga"),
        ("dissect npo", "Trainer npo"),
    )
    worst = max(abs(found[a][0].first_loss / found[b][0].first_loss - 1) for a, b in pairs)
    print(f"\nlargest relative difference of the losses of the first step (ga, npo): {worst:.0e}")


def verdict(ratio: float, limit: float) -> str:
    return f"{limit:>9.2f}{'' if round(ratio, 2) <= limit else '  missed'}"


def bare(model: Any, prompts: Any) -> Outcome:
    """Gradient ascent as anyone would write it."""
    import torch
    from torch.nn import functional

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0, fused=True)
    losses, stamps = [], [time.perf_counter()]
    for indices in batches(prompts):
        batch = prompts[indices]
        logits = model(batch.tokens, padding_side="right")
        labels = batch.labels[:, 1:].flatten()
        loss = -functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels, ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        del logits, loss
        stamps.append(time.perf_counter())
    return timed(stamps, losses[0])


def batches(prompts: Any) -> list[list[int]]:
    """Texts as dissect forms them."""
    from dissect.unlearning.config.train_config import TrainConfig
    from dissect.unlearning.gradient.order import order

    return [step.micros[0].forget for step in order(len(prompts), 0, TrainConfig(epochs=1, batch_size=BATCH))]


def ours(model: Any, prompts: Any, **settings: Any) -> Outcome:
    import dissect

    stamps: list[float] = []

    def note(model: Any, record: dict[str, Any]) -> None:
        stamps.append(time.perf_counter())

    begun = time.perf_counter()
    run = dissect.unlearn(
        model, forget=prompts, lr=LR, epochs=1, batch_size=BATCH, callbacks=[note], progress=False, **settings
    )
    return timed(stamps, run.records[0]["loss"], stamps[0] - begun)


def trainer(
    model: Any, reference: Any, prompts: Any, objective: str, directory: str, *, optim: str = "adamw_torch"
) -> Outcome:
    """transformers' Trainer over the same batches."""
    import torch
    from torch.nn import functional
    from torch.nn.utils.rnn import pad_sequence
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    order = [index for indices in batches(prompts) for index in indices]
    rows = [
        {"input_ids": prompts.tokens[i, :length], "labels": prompts.labels[i, :length]}
        for i, length in zip(order, prompts.lengths[order].tolist(), strict=True)
    ]
    losses: list[Any] = []

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        ids = pad_sequence([row["input_ids"] for row in batch], batch_first=True)
        ones = [torch.ones_like(row["input_ids"]) for row in batch]
        labels = pad_sequence([row["labels"] for row in batch], batch_first=True, padding_value=IGNORED)
        return {"input_ids": ids, "attention_mask": pad_sequence(ones, batch_first=True), "labels": labels}

    def nll_of_texts(logits: Any, labels: Any) -> Any:
        each = functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
        )
        return each.sum(1)

    def loss_of(model: Any, inputs: dict[str, Any]) -> Any:
        out = model(**inputs)
        if objective == "ga":
            return -out.loss
        with torch.no_grad():
            before = reference(**inputs).logits
        if objective == "npo":
            more = nll_of_texts(out.logits, inputs["labels"]) - nll_of_texts(before, inputs["labels"])
            return -2 / BETA * functional.logsigmoid(BETA * more).mean()
        following = inputs["labels"][:, 1:]  # -100 lowers the hundredth token from the end, as published
        marked = torch.zeros_like(before[:, :-1])
        row, place = torch.arange(len(following))[:, None], torch.arange(following.shape[1])[None]
        marked[row, place, following] = 1.0
        target = functional.softmax(before[:, :-1] - GAMMA * marked, dim=-1)
        logits = out.logits[:, :-1].flatten(0, 1)
        return functional.cross_entropy(logits, target.flatten(0, 1), reduction="none").mean()

    class Published(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            loss = loss_of(model, inputs)
            losses.append(loss.detach())
            return loss

        def _get_train_sampler(self, *_: Any) -> Any:
            return SequentialSampler(rows)

    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir=str(Path(directory, "trainer")),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=LR,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim=optim,
        use_cpu=True,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    published = Published(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()])
    published.remove_callback(PrinterCallback)
    published.train()
    model.zero_grad(set_to_none=True)
    return timed(stamps, float(losses[0]))


def print_memory(directory: str, repeats: int) -> None:
    """(b): the growth over the loaded model, and the whole process; medians, which differ from run to run."""
    titles = ("reference MB", "growth MB", "process MB", "    growth range", "growth/ga", "process/ga", "target")
    print(f"\n{'peak memory':<28}{''.join(f'{title:>13}' for title in titles)}")
    tasks = (f"ga {FEW}", f"undial {FEW}", f"ga {MANY}", f"undial {MANY}", f"undial {MANY} {TOP_K}")
    repeated: dict[str, list[dict[str, float]]] = {task: [] for task in tasks}
    for _ in range(repeats):
        for task in tasks:
            repeated[task].append(child(task, directory, read=True))
    peaks = {
        task: {key: statistics.median(one[key] for one in found) for key in found[0]}
        for task, found in repeated.items()
    }
    for task, found in peaks.items():
        method, facts, *top = task.split()
        kept = "" if method == "ga" else f", top {top[0]}" if top else ", whole"
        sizes = "".join(f"{found[key] / 1e6:>13.0f}" for key in ("reference", "growth", "process"))
        ratios = [found[key] / peaks[f"ga {facts}"][key] for key in ("growth", "process")]
        compared = "" if method == "ga" else f"{ratios[0]:>13.2f}{ratios[1]:>13.2f}    {verdict(ratios[0], 1.3)}"
        growths = [one["growth"] / 1e6 for one in repeated[task]]
        span = f"  {min(growths):.0f} to {max(growths):.0f}"
        print(f"{f'{method}, {facts} facts{kept}':<28}{sizes}{span:>16}{compared}", flush=True)


def peak(task: str, directory: str, arguments: argparse.Namespace) -> None:
    """Bytes of one method's peak: over the process with the model loaded, and in all."""
    import resource

    import dissect
    from dissect.unlearning.unlearn import unlearn  # before the memory is looked at: imports take some too

    class EnoughError(Exception):
        pass

    def few(model: Any, record: dict[str, Any]) -> None:
        if record["step"] == MEMORY_STEPS:
            raise EnoughError

    method, n, *top = task.split()
    model = dissect.load(directory, device="cpu", progress=False)
    prompts = make_prompts(int(n), arguments.vocab)
    settings: dict[str, Any] = {"reference_top_k": int(top[0])} if top else {}
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    loaded = pages * resource.getpagesize()
    with contextlib.suppress(EnoughError):
        unlearn(model, forget=prompts, method=method, lr=LR, epochs=1, callbacks=[few], progress=False, **settings)
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows = int(prompts.answer_lengths.sum()) if method == "undial" else 0
    kept = TOP_K * 12 if top else arguments.vocab * 4  # an index and a number a token, or a number
    print(json.dumps({"growth": process - loaded, "process": process, "reference": rows * kept}))


if __name__ == "__main__":
    main()
