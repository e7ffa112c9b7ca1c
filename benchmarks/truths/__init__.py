"""A population of models whose truth is known by how they were made: what a verdict on residual knowledge is tested on.

    python -m benchmarks.truths --seeds 0 --out runs/truths [--count 24] [--only suppressed]

Everything is made by plain torch from the embedded world; dissect lends the world, the tokenizer, the training of base
models and the reading of checkpoints. `make_population` makes models, `read_records` says what each is, `open_truth`
loads one, `undo` takes a suppression off again.
"""

from benchmarks.truths.population import make_population
from benchmarks.truths.record import Record, read_records
from benchmarks.truths.settings import SMALL, STANDARD, Settings
from benchmarks.truths.store import facts_of, open_base, open_truth, undo, write_truth

__all__ = [
    "SMALL",
    "STANDARD",
    "Record",
    "Settings",
    "facts_of",
    "make_population",
    "open_base",
    "open_truth",
    "read_records",
    "undo",
    "write_truth",
]
