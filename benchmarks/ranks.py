"""Throughput of a sweep in one process and shared by two ranks, one thread in each, on two cores.

    python benchmarks/ranks.py [--layers 12] [--rounds 3]

The four curves of the paper (`benchmarks/sweeps.py` has the model and the prompts), here in batches of five prompts.
Every process is started, loads the pair and sweeps a little; then it waits for a signal, and the time is that from the
signal to the last process's end of the sweep, the result on disk. One and two processes take turns; what counts is the
median of the ratios of neighbours. Other work on the machine makes that ratio smaller: run it alone. The ratio of CPU
time (of the one process to that of the busier of two) hardly sees other work: it says how evenly the cells are dealt
and what both ranks have to do twice.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TARGET, BATCH = 1.6, 5


def main() -> None:
    """Take turns, print the times and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*map(Path, arguments.child))
        return
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sys.executable, "-c", MAKE, str(arguments.layers), directory], check=True, cwd=HERE)
        ratios, of_work = [], []
        print(f"{'round':<7}{'one process s':>14}{'two s':>8}{'ratio':>7}{'CPU time':>10}{'equal':>7}   load before")
        for number in range(arguments.rounds):
            load, times, work = os.getloadavg()[0], [], []
            for count in (1, 2):
                seconds, busiest = timed(count, Path(directory), Path(directory, f"{number}-{count}.nc"))
                times.append(seconds)
                work.append(busiest)
            ratios.append(times[0] / times[1])
            of_work.append(work[0] / work[1])
            equal = same(Path(directory, f"{number}-1.nc"), Path(directory, f"{number}-2.nc"))
            sizes = f"{times[0]:>14.2f}{times[1]:>8.2f}{ratios[-1]:>7.2f}{of_work[-1]:>10.2f}"
            print(f"{number + 1:<7}{sizes}{'yes' if equal else 'NO':>7}   {load:.1f}", flush=True)
    ratio, work_ratio = statistics.median(ratios), statistics.median(of_work)
    print(f"two processes do {ratio:.2f} times as much as one (target {TARGET}), {work_ratio:.2f} by CPU time")
    sys.exit(ratio < TARGET)


HERE = Path(__file__).parent
MAKE = """
import sys
from pathlib import Path
import sweeps
for seed in (0, 1):
    sweeps.make(int(sys.argv[1]), seed, Path(sys.argv[2], str(seed)))
"""


def timed(count: int, directory: Path, out: Path) -> tuple[float, float]:
    """Seconds from the signal to the end of the last process; CPU seconds of the busiest one."""
    for stale in directory.glob("ready-*"):
        stale.unlink()
    (directory / "go").unlink(missing_ok=True)
    processes = []
    for rank in range(count):
        environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
        environment |= {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--child", str(directory), str(out)]
        processes.append(subprocess.Popen(command, env=environment))
    while len(list(directory.glob("ready-*"))) < count:
        if any(process.poll() for process in processes):
            raise SystemExit("a process failed before the sweep")
        time.sleep(0.05)
    (directory / "go").touch()
    began = time.perf_counter()
    while not all((directory / f"done-{rank}").exists() for rank in range(count)):
        if any(process.poll() for process in processes):
            raise SystemExit("a process failed in the sweep")
        time.sleep(0.01)
    seconds, work = time.perf_counter() - began, []
    for rank, process in enumerate(processes):
        process.wait()
        work.append(float((directory / f"done-{rank}").read_text()))
        (directory / f"done-{rank}").unlink()
    return seconds, max(work)


def child(directory: Path, out: Path) -> None:
    """One rank: load, warm up, wait, sweep."""
    import sweeps
    import torch

    import dissect

    torch.set_num_threads(1)
    torch.manual_seed(0)
    pair = dissect.load_pair(directory / "0", directory / "1", device="cpu", progress=False)
    prompts = sweeps.make_prompts()
    how: dict[str, Any] = {"window": sweeps.WINDOW, "batch_size": BATCH, "progress": False}
    dissect.patch(pair, prompts[:BATCH], layers=[0], **how)
    rank = os.environ["RANK"]
    (directory / f"ready-{rank}").touch()
    while not (directory / "go").exists():
        time.sleep(0.005)
    began = time.process_time()
    dissect.patch(pair, prompts, out=out, **how)
    dissect.restore(pair, prompts, out=out.with_suffix(".restored.nc"), **how)
    temporary = directory / f"ending-{rank}"
    temporary.write_text(str(time.process_time() - began))
    temporary.rename(directory / f"done-{rank}")


def same(one: Path, two: Path) -> bool:
    """Return True if two sweeps are equal to the bit."""
    from dissect.sweep.results.sweep_result import SweepResult

    pairs = [(path, path.with_suffix(".restored.nc")) for path in (one, two)]
    return all(SweepResult.load(a).data.identical(SweepResult.load(b).data) for a, b in zip(*pairs, strict=True))


if __name__ == "__main__":
    main()
