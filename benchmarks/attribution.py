"""First-order attribution against the exact sweep over the same cells: how fast, and how well it agrees.

    python benchmarks/attribution.py [--layers 12]

Each row is one call of `dissect.attribute` and the exact sweep over the same cells, window 1, in one run on the same
prompts: all heads (queries, keys, values, patterns, weighted values), and coefficients and attention states at every
token position apart.
"""

import argparse
import tempfile
import time
from pathlib import Path

from scipy import stats
from sweeps import make, make_prompts

import dissect

ROWS = {
    "heads": (("z", "q", "k", "v", "pattern"), "head", {"heads": "each"}),
    "positions": (("mlp_post", "attn_out"), "position", {"positions": "each"}),
}
"""Name to sites, what is kept apart, and the same for the exact sweep."""


def main() -> None:
    """Run both ways for each row; print times, their ratio and the rank correlation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directories = [make(arguments.layers, seed, Path(folder) / str(seed)) for seed in (0, 1)]
        pair = dissect.load_pair(*directories, progress=False)
    prompts = make_prompts()
    dissect.attribute(pair, prompts, layers=[0], progress=False)  # what is done once in a process
    print(f"{arguments.layers} layers")
    print(f"{'row':<12}{'cells':>8}{'first order s':>16}{'exact s':>10}{'ratio':>8}{'rank correlation':>19}")
    for row, (sites, per, apart) in ROWS.items():
        start = time.perf_counter()
        first = dissect.attribute(pair, prompts, sites, per=per, progress=False)
        middle = time.perf_counter()
        exact = dissect.patch(pair, prompts, sites, window=1, progress=False, **apart)
        end = time.perf_counter()
        estimated, measured = (result.recovery("krs").mean("prompt") for result in (first, exact))
        agreement = stats.spearmanr(
            estimated.transpose(*measured.dims).values.ravel(), measured.values.ravel()
        ).statistic
        times = f"{middle - start:>16.2f}{end - middle:>10.1f}{(end - middle) / (middle - start):>8.0f}"
        print(f"{row:<12}{measured.size:>8}{times}{agreement:>19.3f}", flush=True)


if __name__ == "__main__":
    main()
