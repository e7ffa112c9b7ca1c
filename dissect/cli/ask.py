"""`dissect ask`: a question of one's own to both models."""

from typing import Annotated

import typer

from dissect.cli.arguments import options, values
from dissect.cli.arguments.say import say
from dissect.data.render import DEFAULT_TEMPLATE
from dissect.errors import DissectError


def ask(
    base: options.Base,
    unlearned: Annotated[
        str, typer.Argument(metavar="UNLEARNED", help="Checkpoint after unlearning.", show_default=False)
    ],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.", show_default=False)],
    *,
    retrained: Annotated[
        str | None, typer.Option(metavar="DIR", help="Checkpoint trained without the forget facts.")
    ] = None,
    restore: Annotated[
        str, typer.Option(metavar="mlp.W_out,...", help="Also ask with these blocks of the base model put in.")
    ] = "",
    patch: Annotated[
        str, typer.Option(metavar="mlp_post,...", help="Also ask with the base model's activations at these sites.")
    ] = "",
    layers: Annotated[str, typer.Option(metavar="4,5", help="Layers of --restore or --patch. [default: all]")] = "",
    template: Annotated[str | None, typer.Option(help="Template for the question, with {question}.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.", min=1)] = 30,
    adapter_base: options.AdapterBase = None,
    allow_extra_rows: options.AllowExtraRows = False,
    asking: options.ChatOptions,
    running: options.RunOptions,
) -> None:
    """Ask both models a question.

    Shows what each says, token by token: under each answer stands the probability that every model gives to each of its
    tokens. With --restore or --patch the unlearned model also answers with parts of the base model in it.
    """
    if not question.strip():
        raise DissectError("the question is empty: type one in quotes")
    if layers and not all(part.strip().isdecimal() for part in layers.split(",")):
        raise DissectError(f"--layers {layers}: give numbers of layers, e.g. 4,5")
    running.start()

    from dissect.autopsy.asking.own_question import ask as answer
    from dissect.models.pair import load_pair

    pair = load_pair(
        base,
        unlearned,
        retrained=retrained,
        adapter_base=adapter_base,
        allow_extra_rows=allow_extra_rows,
        dtype=running.dtype,
        device=running.device,
        progress=running.progress,
    )
    asked = answer(
        pair,
        question,
        restore=values.listed(restore, "--restore") if restore else (),
        patch=values.listed(patch, "--patch") if patch else (),
        layers=[int(part) for part in layers.split(",")] if layers else None,
        template=DEFAULT_TEMPLATE if template is None else values.unescaped(template),
        chat=asking.chat_choice(),
        max_new_tokens=max_new_tokens,
    )
    say(repr(asked))
