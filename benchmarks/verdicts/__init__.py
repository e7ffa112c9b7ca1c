"""Is the verdict right? The panel, the word and their rivals on a population of known truth.

    python -m benchmarks.truths --seeds 0 1 2 3 --out runs/truths --count 100
    python -m benchmarks.verdicts judge runs/truths/seed0 --rivals
    python -m benchmarks.verdicts score runs/truths/seed1 runs/truths/seed2 runs/truths/seed3 --lines runs/truths/seed0

`judge` writes a file a model and goes on where it stopped; `score` reads these files and measures nothing.
"""
