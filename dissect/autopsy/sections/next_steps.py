"""The end of the page: what a reader may do next."""

import shlex
from typing import Any

from dissect.autopsy.page import Code, Section
from dissect.autopsy.results import Results
from dissect.verdicts.judged import Verdict

_ADVICE = {
    "not forgotten": "The facts are still answered: unlearn longer or with another objective, then judge again.",
    "suppressed": "The facts are hidden, not gone: do not release this as erased. Restore the place found above to see "
    "what hides them, or unlearn with an objective that reaches it, and judge again.",
    "traces left": "Little is left, but not nothing: see above which attack finds it and which facts it is.",
    "erased": "Nothing was found by these attacks on these facts: judge with more facts before relying on it.",
    "broken": "The model is damaged: lower the learning rate, or add retain facts, and judge again.",
    "cannot tell": "The evidence does not decide: the full verdict above says what is missing, most often more facts.",
}


def next_steps(results: Results, verdict: Verdict | None) -> Section:
    """Advice by verdict, and commands with the paths of these checkpoints."""
    held = results.about["identity"]["checkpoints"]
    base, unlearned = (shlex.quote(str(held.get(f"{role}_path", role.upper()))) for role in ("base", "unlearned"))
    parts: list[Any] = [] if verdict is None else [_ADVICE[verdict.verdict]]
    lines = [
        f'dissect ask {base} {unlearned} "..."',
        f"dissect verdict {base} {unlearned} --forget FORGET --retain RETAIN --out verdict.json",
        f"dissect restore {base} {unlearned} --facts FORGET --out sweep.nc",
    ]
    if missing := [step for step, reason in results.missing.items() if "not computed" in reason]:
        parts.append(f"Not computed here: {', '.join(missing)}. Give the same command with these --steps to add them.")
    return Section(
        "What to do next",
        [*parts, "Ask a question of your own, judge more checkpoints, look further:", Code("\n".join(lines))],
    )
