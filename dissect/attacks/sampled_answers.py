"""Sampling: what is not the likeliest answer may still come up once in many tries (leak@k).

Each question is continued n times at random. With c continuations in which an answer stands, the chance that at least
one of k drawn without replacement holds it is leak@k = 1 - C(n - c, k) / C(n, k), the unbiased estimator of pass@k
(Chen et al. 2021, arXiv:2107.03374) that leak@k (Reisizadeh et al. 2025, arXiv:2511.04934) takes over. Entry (i, j) is
leak@k of answer j under question i. A question's continuations are drawn without any answer, so which answers stand in
them knows nothing of the key.
"""

import re
from math import comb

import numpy as np
from jaxtyping import Float

from dissect.attacks.attack import Attack, NotPossible, Scores, Target
from dissect.attacks.layer_states import questions_of
from dissect.models.running.generate import eos_token_ids
from dissect.models.running.sampling import sample

EXTRA_TOKENS = 8
"""Tokens beyond the longest candidate answer that a continuation may have."""


def sampling(target: Target, *, samples: int, k: int, temperature: float, top_p: float) -> Scores:
    """leak@k of every candidate answer."""
    if not 1 <= k <= samples:
        raise NotPossible(f"leak@k needs 1 <= k <= samples, got k={k} and samples={samples}")
    prompts, where = questions_of(target)
    questions = [row[:n] for row, n in zip(prompts.tokens, prompts.prompt_lengths.tolist(), strict=True)]
    texts = {" " + answer.strip() for sheet in target.sheets for ask in sheet.asks for answer in ask.answers}
    longest = max(len(ids) for ids in target.tokenizer(sorted(texts), add_special_tokens=False)["input_ids"])
    new = sample(
        target.model,
        [ids for ids in questions for _ in range(samples)],
        max_new_tokens=longest + EXTRA_TOKENS,
        temperature=temperature,
        top_p=top_p,
        seed=target.seed,
        eos_ids=eos_token_ids(target.model),
        batch_size=max(target.asking.batch_size, 64),
        progress=target.progress,
    )
    said = [target.tokenizer.decode(ids, skip_special_tokens=True).casefold() for ids in new]
    matrices = []
    for sheet, asks in zip(target.sheets, where, strict=True):
        matrix = np.full(sheet.shape, np.nan)
        for ask, (row, places) in zip(sheet.asks, asks, strict=True):
            if places:
                answers = [said[number * samples : (number + 1) * samples] for number in places]
                matrix[row, list(ask.columns)] = np.mean([_leaks(ask.answers, each, k) for each in answers], axis=0)
        matrices.append(matrix)
    return matrices


def _leaks(answers: tuple[str, ...], said: list[str], k: int) -> Float[np.ndarray, " answer"]:
    """leak@k of each answer in the continuations of one question; it must stand there as whole words."""
    patterns = [re.compile(rf"(?<!\w){re.escape(answer.strip().casefold().rstrip('.'))}(?!\w)") for answer in answers]
    counts = [sum(bool(pattern.search(text)) for text in said) for pattern in patterns]
    return np.array([leak_at_k(len(said), count, k) for count in counts])


def leak_at_k(samples: int, hits: int, k: int) -> float:
    """Chance that at least one of ``k`` of ``samples`` continuations is among the ``hits``."""
    return 1 - comb(samples - hits, k) / comb(samples, k)


ATTACK = Attack(
    name="sampling",
    label="sampling (leak@k)",
    family="sampling",
    seen="Nothing: the model is asked many times at random.",
    run=sampling,
    budget={"samples": 16, "k": 8, "temperature": 1.0, "top_p": 1.0},
    slow=True,
)
