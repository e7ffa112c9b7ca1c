"""`Asked`: a question with what each model says, token by token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dissect.autopsy.picker.embed import plain
from dissect.plots.ticks import readable


@dataclass(frozen=True)
class SaidToken:
    """A token of an answer, and the probability that each model gives it there."""

    text: str
    p: Mapping[str, float]


@dataclass(frozen=True)
class Said:
    """What one model says."""

    model: str
    text: str
    tokens: Sequence[SaidToken]


@dataclass(frozen=True)
class Asked:
    """A question, and the greedy answer of each model in order; shown as text or, in a notebook, as HTML."""

    question: str
    prompt: str
    answers: tuple[Said, ...]

    def __getitem__(self, model: str) -> Said:
        """The answer of ``base``, ``unlearned``, ``retrained`` or ``changed``.

        Raises:
            KeyError: no such model.
        """
        for said in self.answers:
            if said.model == model:
                return said
        raise KeyError(model)

    def __repr__(self) -> str:
        width = max(len(said.model) for said in self.answers)
        lines = [self.question]
        for said in self.answers:
            lines.append(f"{said.model:<{width}}  {said.text or '(nothing)'}")
            for token in said.tokens:
                p = ", ".join(f"{model} {value:.3f}" for model, value in token.p.items())
                lines.append(f"{'':<{width}}    {readable(token.text):<16} {p}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{plain(said.model)}</th>'
            f'<td style="text-align:left">{plain(said.text) or "(nothing)"}'
            f"<div>{''.join(map(_token, said.tokens))}</div>"
            "</td></tr>"
            for said in self.answers
        )
        return f"<p><b>{plain(self.question)}</b></p><table>{rows}</table>"


def _token(token: SaidToken) -> str:
    told = "; ".join(f"{model} {value:.3f}" for model, value in token.p.items())
    numbers = "<br>".join(f"{plain(model)} {value:.2f}" for model, value in token.p.items())
    return (
        f'<span title="{plain(told)}" style="display:inline-block;margin:2px;padding:2px 5px;border:1px solid #888;'
        f'border-radius:4px">{plain(readable(token.text))}<br><small>{numbers}</small></span>'
    )
