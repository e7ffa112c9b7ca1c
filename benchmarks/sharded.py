"""Memory of each rank of a sharded model, over what the process had before: loaded, in a sweep, in training.

    python benchmarks/sharded.py
    torchrun --nproc-per-node 4 benchmarks/sharded.py

A random Llama with 12 layers of width 512 and a vocabulary of 32,000 (about 280 MB in float32) is made beside the
system's temporary files. ``share`` is what a rank holds of the parameters; peaks are of the resident set, in MB, the
most that any rank had; pages of the mapped weight files count in it while they are mapped.
"""

import tempfile
import time
from pathlib import Path

import torch
from sweeps import make, make_prompts

import dissect
from dissect.distributed import all_gather_objects, barrier, is_main, mesh, on_main, started, world
from dissect.models.sharding.shards import own_part

WHERE = Path(tempfile.gettempdir()) / "dissect-sharded-benchmark"


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    how = {"mesh": mesh()} if world().size > 1 else {}
    names = [WHERE / "0", WHERE / "1"]
    on_main(lambda: [make(12, seed, path) for seed, path in enumerate(names) if not path.is_dir()] and None)
    small = on_main(lambda: make(1, 2, Path(tempfile.mkdtemp()) / "small"))
    dissect.load(small, progress=False, **how)  # what is loaded once in a process: libraries, groups, their buffers
    loading, sweeping, training = Peak(), Peak(), Peak()
    with loading:
        pair = dissect.load_pair(*names, progress=False, **how)
    sizes = [(own_part(parameter).nbytes, parameter.nbytes) for parameter in pair.base.parameters()]
    share, largest = sum(own for own, _ in sizes), max(whole for _, whole in sizes)
    prompts = make_prompts()
    with sweeping:
        dissect.patch(pair, prompts, components=["mlp_post"], window=5, progress=False)
    with training:
        settings = {"method": "npo", "epochs": 1, "batch_size": len(prompts), "lr": 1e-5, "progress": False}
        dissect.unlearn(pair.unlearned, forget=prompts, retain=prompts, gradient_checkpointing=True, **settings)
    rows = all_gather_objects((share / 2**20, loading.mb, sweeping.mb, training.mb, loading.s, sweeping.s, training.s))
    if is_main():
        most = [max(column) for column in zip(*rows, strict=True)]
        print(f"{world().size} ranks; largest tensor {largest / 2**20:.0f} MB; share of one model {most[0]:.0f} MB")
        for name, mb, seconds in zip(("loading two models", "sweep", "training"), most[1:4], most[4:], strict=True):
            print(f"  {name:<20}peak {mb:6.0f} MB  {seconds:5.1f} s")


class Peak:
    """The most that was resident above what was when the body began."""

    def __enter__(self) -> "Peak":
        barrier()
        Path("/proc/self/clear_refs").write_text("5")
        self.before, self.began = status("VmRSS"), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.mb, self.s = status("VmHWM") - self.before, time.perf_counter() - self.began


def status(key: str) -> float:
    """A line of the kernel's account of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


if __name__ == "__main__":
    with started():
        main()
