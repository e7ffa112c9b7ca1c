"""How fast parameter sweeps are, and what swapping parameters costs.

    python benchmarks/restoration.py [--layers 12 24]

The first table is the curve of value vectors (window 5, the work of benchmarks/sweeps.py) by the published procedure
(transformers, a full forward pass and all logits for each cell, the weights restored from a copy of the state dict) and
by `dissect.restore`, in turn in one run. The second is the time to put a window of value vectors in and out again, in
percent of the mean time of a cell; whole blocks change places, parts of them are mixed into a copy of their matrices.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from sweeps import WINDOW, make, make_prompts, plain_sweep, windows
from transformers import LlamaForCausalLM

import dissect
from dissect.data.prompts import Prompts
from dissect.restoration.blend import Between, Factors, LowRank, Mix, Neurons
from dissect.restoration.parameter_swap import Parameters, ParameterSwap

REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[12, 24])
    arguments = parser.parse_args()
    prompts, rows = make_prompts(), []
    print(f"{'layers':>8}{'plain s':>10}{'dissect s':>11}{'ratio':>8}{'max diff':>10}")
    for n_layers in arguments.layers:
        with tempfile.TemporaryDirectory() as folder:
            directories = [make(n_layers, seed, Path(folder) / str(seed)) for seed in (0, 1)]
            pair = dissect.load_pair(*directories, progress=False)
            plain = [LlamaForCausalLM.from_pretrained(directory).eval() for directory in directories]
        seconds, ratio, difference = curves(pair, plain, prompts)
        print(f"{n_layers:>8}{seconds[0]:>10.2f}{seconds[1]:>11.2f}{ratio:>8.2f}{difference:>10.1e}", flush=True)
        cell = seconds[1] / n_layers
        rows += [(n_layers, what, swap(pair, steps), cell) for what, steps in parts().items()]
    print(f"\n{'layers':>8}  {'put in and out':<28}{'ms':>8}{'% of a cell':>13}")
    for n_layers, what, took, cell in rows:
        print(f"{n_layers:>8}  {what:<28}{1000 * took:>8.3f}{took / cell:>13.2%}")


def curves(pair: dissect.ModelPair, plain: list, prompts: Prompts) -> tuple[tuple[float, float], float, float]:
    """Median seconds of both ways, the median ratio and the largest difference of KRS."""
    times: list[tuple[float, float]] = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        expected = plain_sweep(*plain, prompts, ["v"])[0]
        middle = time.perf_counter()
        found = dissect.restore(pair, prompts, window=WINDOW, progress=False)
        times.append((middle - start, time.perf_counter() - middle))
    difference = float((torch.from_numpy(found.recovery("krs").values[0]) - expected).abs().max())
    ratio = statistics.median(theirs / ours for theirs, ours in times)
    return (statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)), ratio, difference


def parts() -> dict[str, tuple[Mix, ...]]:
    return {
        "value vectors, whole": (),
        "one value vector a layer": (Neurons((7,)),),
        "half way to the donor": (Between(0.5),),
        "rank 4 of the change": (LowRank(4, Factors(4)),),
    }


def swap(pair: dissect.ModelPair, steps: tuple[Mix, ...]) -> float:
    """Median seconds to put a window of value vectors in and out again, over all windows."""
    source, times = Parameters(pair.base), []
    for members in windows(pair.base.cfg.n_layers):
        one = ParameterSwap(source, tuple(f"blocks.{layer}.mlp.W_out" for layer in members), steps)
        with one.applied(pair.unlearned):
            pass  # what is found once for all cells, such as singular directions
        start = time.perf_counter()
        with one.applied(pair.unlearned):
            pass
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
