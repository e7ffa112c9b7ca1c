"""How fast greedy continuation is, against transformers and TransformerLens on the same prompts.

    python benchmarks/generation.py [--rounds 7 --new 32 --threads 2 --shapes 12x512 6x128]

Random Llamas (vocabulary 32,000), 32 prompts of one length (64) or of many (8 to 64), 32 new tokens each; once more
with answers that end, where a twentieth of the vocabulary counts as EOS, and one prompt alone. All ways take the same
prompts in turn, in another order in each round; the first call of each does not count. Tokens a second are medians over
rounds, of the tokens that are given back; ratios of times are the median of the rounds' ratios, with the lowest and the
highest. With one thread the processor's time is taken, which others on the machine hardly change; else the clock's.

transformers      generate(do_sample=False) of the same checkpoint, left-padded with its mask, SDPA attention
TransformerLens   HookedTransformer.generate(do_sample=False), left-padded; it knows one EOS only and is left out there
dissect           `dissect.models.running.generate.greedy`

Tokens are compared in every round; where they differ, the script says in how many rows. The last column says whether
they are equal, and they must be in float64, where no two logits lie so close that rounding decides. Fails where dissect
is slower than transformers.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformer_lens import HookedTransformer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

import dissect
from dissect.models.running.generate import greedy

VOCABULARY, N_PROMPTS, SHORTEST, LONGEST, PAD = 32_000, 32, 8, 64, 0
Tokens = list[list[int]]


@dataclass
class Work:
    """The prompts."""

    name: str
    prompts: list[Tensor]
    new: int
    ends: list[int]

    def padded(self) -> Tensor:
        return pad_sequence(self.prompts, batch_first=True, padding_value=PAD, padding_side="left")

    def cut(self, tokens: Tensor) -> Tokens:
        """The new tokens, without the EOS and all that stands after it."""
        ends, rows = set(self.ends), tokens.tolist()
        stops = [next((i for i, token in enumerate(row) if token in ends), len(row)) for row in rows]
        return [row[:stop] for row, stop in zip(rows, stops, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["12x512", "6x128"], help="layers x width")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--new", type=int, default=32, help="tokens to add")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 1 takes processor time")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    torch.set_grad_enabled(False)
    print(f"load of the machine before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    timed = "clock" if clock() is time.perf_counter else "processor"
    print(f"{torch.get_num_threads()} threads, {arguments.rounds} rounds; tokens/s and ratios of {timed} seconds")
    print(f"{'model':<9}{'prompts':<21}{'transformers':>13}{'TL':>7}{'dissect':>9}", end="")
    print(f"{'to transformers':>23}{'to TL':>22}  same tokens")
    slow = False
    for shape in arguments.shapes:
        with tempfile.TemporaryDirectory() as directory:
            make(*map(int, shape.split("x")), directory=directory)
            for work in works(arguments.new):
                slow |= compare(shape, Path(directory), work, arguments.rounds) < 1
    print(f"load of the machine after: {os.getloadavg()[0]:.2f}")
    sys.exit(slow)


def make(n_layers: int, width: int, *, directory: str) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=n_layers,
        num_attention_heads=width // min(64, width // 4),
        num_key_value_heads=width // min(64, width // 4),
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    words = {f"w{i}": i for i in range(VOCABULARY)}  # TransformerLens finds padding by its tokenizer
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=f"w{PAD}").save_pretrained(directory)


def works(new: int) -> list[Work]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (N_PROMPTS,), generator=generator).tolist()
    lengths[:2] = SHORTEST, LONGEST
    mixed = [torch.randint(PAD + 1, VOCABULARY, (length,), generator=generator) for length in lengths]
    equal = [torch.randint(PAD + 1, VOCABULARY, (LONGEST,), generator=generator) for _ in lengths]
    ends = list(range(7, VOCABULARY, 20))
    return [
        Work("one length", equal, new, []),
        Work("mixed lengths", mixed, new, []),
        Work("mixed, answers end", mixed, new, ends),
        Work("one prompt", equal[:1], new, []),
    ]


def ways(directory: Path, dtype: torch.dtype, work: Work) -> dict[str, Callable[[], Tokens]]:
    plain = LlamaForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="sdpa").eval()
    hooked = dissect.load(directory, dtype=dtype, device="cpu", progress=False)
    found: dict[str, Callable[[], Tokens]] = {
        "transformers": lambda: by_transformers(plain, work),
        "dissect": lambda: [row.tolist() for row in by_dissect(hooked, work)],
    }
    if not work.ends:
        found["TL"] = lambda: by_transformer_lens(hooked, work)
    return found


def by_dissect(model: HookedTransformer, work: Work) -> list[Tensor]:
    return greedy(model, work.prompts, max_new_tokens=work.new, eos_ids=work.ends, progress=False)


def by_transformers(model: LlamaForCausalLM, work: Work) -> Tokens:
    tokens = work.padded()
    out = model.generate(
        tokens,
        attention_mask=(tokens != PAD).long(),
        max_new_tokens=work.new,
        do_sample=False,
        use_cache=True,
        eos_token_id=work.ends or None,
        pad_token_id=PAD,
    )
    return work.cut(out[:, tokens.shape[1] :])


def by_transformer_lens(model: HookedTransformer, work: Work) -> Tokens:
    tokens = work.padded()
    model.tokenizer.padding_side = "left"
    options = {"do_sample": False, "stop_at_eos": False, "prepend_bos": False, "verbose": False}
    out = model.generate(tokens, max_new_tokens=work.new, padding_side="left", return_type="tokens", **options)
    return work.cut(out[:, tokens.shape[1] :])


def compare(shape: str, directory: Path, work: Work, rounds: int) -> float:
    """Print one row; returns transformers' seconds over dissect's."""
    every = ways(directory, torch.float32, work)
    tokens = {name: way() for name, way in every.items()}
    seconds: dict[str, list[float]] = {name: [] for name in every}
    for i in range(rounds):
        names = list(every)
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = clock()()
            again = every[name]()
            seconds[name].append(clock()() - start)
            assert again == tokens[name], f"{name} gives other tokens in another call"
    different = sum(any(rows != answers[0] for rows in answers) for answers in zip(*tokens.values(), strict=True))
    del every
    exact = ways(directory, torch.float64, work)
    assert exact["dissect"]() == exact["transformers"](), "tokens differ in float64"
    n_tokens = sum(map(len, tokens["dissect"]))
    rates = {name: n_tokens / statistics.median(times) for name, times in seconds.items()}
    theirs = f"{rates['TL']:.0f}" if "TL" in rates else "-"
    print(f"{shape:<9}{work.name:<21}{rates['transformers']:>13.0f}{theirs:>7}", end="")
    print(f"{rates['dissect']:>9.0f}{spread(seconds, 'transformers'):>23}{spread(seconds, 'TL'):>22}", end="")
    print(f"  {f'in float64; {different} rows differ in float32' if different else 'yes'}", flush=True)
    return statistics.median(ratios(seconds, "transformers"))


def clock() -> Callable[[], float]:
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def ratios(seconds: dict[str, list[float]], other: str) -> list[float]:
    return [theirs / ours for theirs, ours in zip(seconds.get(other, []), seconds["dissect"], strict=False)]


def spread(seconds: dict[str, list[float]], other: str) -> str:
    found = ratios(seconds, other)
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})" if found else "-"


if __name__ == "__main__":
    main()
