"""How `Prompts` look in a terminal and in a notebook."""

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dissect.data.prompts import Prompts

SHOWN = 5
ANSWER_STYLE = "background:#ffe08a;color:#000;"
SUBJECT_STYLE = "text-decoration:underline;"


def summary(prompts: "Prompts") -> str:
    """Number of rows, range of their lengths in tokens, and the first few, the answer in brackets."""
    if len(prompts) == 0:
        return "Prompts(0)"
    words = f"{prompts.answers} answers, {_range(prompts.lengths.tolist())} tokens"
    lines = [f"Prompts({len(prompts)}, {words}, {_range(prompts.answer_lengths.tolist())} of them scored)"]
    for i in range(min(SHOWN, len(prompts))):
        prompt, answer = prompts.prompt_texts[i], prompts.answer_texts[i]
        prompt = prompt if len(prompt) <= 80 else "..." + prompt[-77:]
        answer = answer if len(answer) <= 80 else answer[:77] + "..."
        lines.append(f"  {i}: {prompt!r} [{answer!r}]")
    if len(prompts) > SHOWN:
        lines.append(f"  ... and {len(prompts) - SHOWN} more")
    return "\n".join(lines)


def html_table(prompts: "Prompts") -> str:
    """A table of the first rows, token by token: scored tokens on yellow, the subject underlined."""
    head = f"<p>{escape(summary(prompts).splitlines()[0])}; scored tokens marked, the subject underlined</p>"
    body = "".join(
        f"<tr><td>{i}</td><td style='text-align:left;white-space:pre-wrap'>{_tokens(prompts, i)}</td></tr>"
        for i in range(min(SHOWN, len(prompts)))
    )
    return f"{head}<table><tr><th>prompt</th><th style='text-align:left'>tokens</th></tr>{body}</table>"


def _tokens(prompts: "Prompts", row: int) -> str:
    ids = prompts.tokens[row, : int(prompts.lengths[row])].tolist()
    names = prompts.tokenizer.convert_ids_to_tokens(ids) if prompts.tokenizer is not None else [str(i) for i in ids]
    cells = []
    for position, name in enumerate(names):
        style = ANSWER_STYLE if prompts.answer_mask[row, position] else ""
        style += SUBJECT_STYLE if prompts.subject_mask[row, position] else ""
        cells.append(f'<span title="{position}: id {ids[position]}" style="{style}">{escape(str(name))}</span>')
    return "&thinsp;".join(cells)


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
