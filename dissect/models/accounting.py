"""Numbers that memory follows from, in a file that needs no torch: plans count with them, and others keep to them."""

PROMPTS_AT_ONCE = 32
"""Prompts in one forward pass of a sweep."""
COLUMNS_AT_ONCE = 4096
"""Columns of the unembedding that a sweep brings to float64 at once."""
WIDE = 8
"""How many times wider than the model the vocabulary has to be for the product in float64 to pay."""
TRAINING_LOGITS = 1 << 24
"""Number of logits (64 MB in float32) that training has in memory together, times the few copies that a loss makes."""
REFERENCE_BYTES = 1 << 26
"""Bytes of a reference's distributions that stay in memory. At a vocabulary of 32,000, 200 answers of 20 tokens take
0.5 GB, more than a small model."""
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
"""Bytes of a number, for each dtype that a model can have."""


def readable(n_bytes: int | float) -> str:
    """``1.5 GB``; decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
