"""Peak memory of a sweep between two checkpoints of 2 GB each, in multiples of one loaded model.

    python benchmarks/memory.py [--layers 16]

Each row runs in a process of its own: an activation sweep (coefficients) and a parameter sweep (value vectors),
with the pair held as usual and one model at a time. The peak is the growth of the process's resident memory over what
it was after the imports; the cache is what dissect estimates for the donor's activations and logits, and in parameter
sweeps the blocks in play and what the recipient computes before the first of them, which cells share.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIMIT, WINDOW = 1.2, 5


def main() -> None:
    """Make two checkpoints, measure both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=16, help="16 layers are 2 GB")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        task, directory = arguments.child
        print(json.dumps(make(directory, arguments.layers) if task == "make" else measure(task, directory)))
        return
    with tempfile.TemporaryDirectory() as directory:
        run("make", directory, arguments.layers)
        print(f"{'sweep, pair':<22}{'model GB':>9}{'cache GB':>9}{'peak GB':>9}{'(peak - cache) / model':>24}")
        ratios = {}
        for task in ("patch both", "patch sequential", "restore both", "restore sequential"):
            found = run(task, directory, arguments.layers)
            ratios[task] = (found["peak"] - found["cache"]) / found["model"]
            sizes = "".join(f"{found[key] / 1e9:>9.2f}" for key in ("model", "cache", "peak"))
            print(f"{task:<22}{sizes}{ratios[task]:>24.2f}", flush=True)
    ratio = ratios["patch sequential"]
    print(f"activations, one model at a time: {ratio:.2f} models beside the cache (limit {LIMIT})")
    sys.exit(ratio > LIMIT)


def run(task: str, directory: str, layers: int) -> dict[str, Any]:
    """One task in a process of its own; a child starts with its parent's peak, so this one stays small."""
    command = [sys.executable, __file__, "--layers", str(layers), "--child", task, directory]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def make(directory: str, layers: int) -> dict[str, Any]:
    """Two random Llama checkpoints of the same shape."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tiny = LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    LlamaForCausalLM(tiny).save_pretrained(Path(directory, "tiny"))
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=32000,
            hidden_size=1536,
            intermediate_size=4096,
            num_hidden_layers=layers,
            num_attention_heads=12,
            num_key_value_heads=4,
        )
        LlamaForCausalLM(config).save_pretrained(Path(directory, str(seed)), max_shard_size="300MB")
    return {}


def measure(task: str, directory: str) -> dict[str, Any]:
    """Bytes of a model, of what a sweep keeps of the donor (see above), and the peak over the imports."""
    import resource

    import sweeps

    import dissect
    from dissect.models.parameters import layer_block_parameters
    from dissect.patching import patch as _  # noqa: F401
    from dissect.patching.sites import hook_name
    from dissect.restoration import restore as __  # noqa: F401
    from dissect.sweep.donor import Donor
    from dissect.sweep.sweep import Options, donor_bytes

    dissect.load(Path(directory, "tiny"), device="cpu", progress=False)  # imports what loading imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    prompts = sweeps.make_prompts()
    directories = [Path(directory, seed) for seed in "01"]
    kind, held = task.split()
    pair = dissect.load_pair(*directories, device="cpu", sequential=held == "sequential", progress=False)
    if kind == "patch":
        dissect.patch(pair, prompts, ["mlp_post"], layers=[0, 4], progress=False)
    else:
        dissect.restore(pair, prompts, ["mlp.W_out"], window=WINDOW, progress=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    donor = Donor(pair.base)
    if kind == "patch":
        donor.want(hook_name("mlp_post", layer) for layer in range(7))
    cache = donor_bytes(donor, prompts, Options())
    if kind == "restore":
        names = [name for layer in range(WINDOW) for name in layer_block_parameters(pair.base, "mlp.W_out", layer)]
        cache += sum(pair.base.get_parameter(name).nbytes for name in names)
        cells_begin_at = pair.base.cfg.n_layers  # before each of them the recipient's own stream is kept
        cache += cells_begin_at * prompts.tokens.numel() * (2 * pair.base.cfg.d_model + pair.base.cfg.d_mlp) * 4
    return {"model": sum(p.nbytes for p in pair.base.parameters()), "cache": cache, "peak": peak}


if __name__ == "__main__":
    main()
