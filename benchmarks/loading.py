"""Peak memory of loading a checkpoint of over a gigabyte, as a multiple of the loaded model.

    python benchmarks/loading.py [--layers 8] [--directory DIR]

Writes a random Llama checkpoint (float32; safetensors shards and, beside it, one pytorch_model.bin), then loads it in
a fresh process for each row of the table. The peak is the growth of the process's resident memory over what it was
after the imports; pages of mapped files count in it. "transformers" is the usual route: the whole model in
transformers, converted and copied into a HookedTransformer with load_state_dict.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT = 1.3
ROUTES = [
    ("dissect", "safetensors", "float32"),
    ("dissect", "safetensors", "bfloat16"),
    ("dissect", "bin", "float32"),
    ("dissect", "bin", "bfloat16"),
    ("transformers", "safetensors", "float32"),
    ("transformers", "safetensors", "bfloat16"),
]


def main() -> None:
    """Make the checkpoint, measure each route, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=8, help="8 layers are 1.3 GB")
    parser.add_argument("--directory", type=Path, help="where to make the checkpoint; by default a temporary directory")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        task, directory, detail = arguments.child
        print(json.dumps(make(directory, int(detail)) if task == "make" else measure(task, directory, detail)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        made = run("make", directory, str(arguments.layers))
        print(
            f"checkpoint: Llama, {made['parameters'] / 1e6:.0f} M parameters, {made['bytes'] / 1e9:.2f} GB in float32"
        )
        print(f"{'route':<14}{'files':<13}{'dtype':<10}{'model GB':>9}{'peak GB':>9}{'ratio':>7}{'seconds':>9}")
        worst = 0.0
        for route, files, dtype in ROUTES:
            found = run(route, str(Path(directory, files)), dtype)
            ratio = found["peak"] / found["model"]
            worst = max(worst, ratio) if route == "dissect" else worst
            print(
                f"{route:<14}{files:<13}{dtype:<10}{found['model'] / 1e9:>9.2f}{found['peak'] / 1e9:>9.2f}"
                f"{ratio:>7.2f}{found['seconds']:>9.1f}"
            )
    print(f"dissect: at most {worst:.2f} times the loaded model (limit {LIMIT})")
    sys.exit(worst > LIMIT)


def run(*arguments: str) -> dict[str, Any]:
    """One task in a process of its own; this one stays small, because a child starts with its parent's peak."""
    command = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def make(directory: str, layers: int) -> dict[str, Any]:
    """Write the checkpoint twice: as shards of safetensors and as one pickled file."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=1536,
        intermediate_size=4096,
        num_hidden_layers=layers,
        num_attention_heads=12,
        num_key_value_heads=4,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(Path(directory, "safetensors"), max_shard_size="300MB")
    binary = Path(directory, "bin")
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(binary)
    torch.save(model.state_dict(), binary / "pytorch_model.bin")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "bytes": 4 * parameters}


def measure(task: str, directory: str, dtype: str) -> dict[str, Any]:
    """Load by one route; bytes of the model, peak over the imports, seconds."""
    import warnings

    import torch
    import transformers
    from transformer_lens import HookedTransformer
    from transformer_lens.pretrained.weight_conversions.llama import convert_llama_weights

    from dissect.models.families import find_family, hooked_config, transformers_config
    from dissect.models.files.hub import read_json
    from dissect.models.files.load import load

    before, start = resident_peak(), time.perf_counter()
    if task == "dissect":
        model = load(directory, dtype=dtype, device="cpu", progress=False)
    else:
        warnings.simplefilter("ignore")
        config = read_json(Path(directory, "config.json"))
        family = find_family(config)
        cfg = hooked_config(family, transformers_config(family, config), device="cpu", dtype=getattr(torch, dtype))
        native = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype))
        model = HookedTransformer(cfg)
        model.load_state_dict(convert_llama_weights(native, cfg), strict=False)
    seconds = time.perf_counter() - start
    size = sum(parameter.nbytes for parameter in model.parameters())
    return {"model": size, "peak": resident_peak() - before, "seconds": seconds}


def resident_peak() -> int:
    """The highest resident memory of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
