"""`dissect verdict`: the panel of attacks and the word, one row a checkpoint."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dissect.cli.arguments import options, outputs, values
from dissect.cli.arguments.say import say
from dissect.distributed import is_main
from dissect.errors import DissectError, near_miss
from dissect.jobs.task import task_of

FAILED = 3
"""Exit status where a checkpoint has a verdict that ``--fail-on`` names."""


def verdict(
    base: options.Base,
    unlearned: Annotated[
        list[str],
        typer.Argument(metavar="UNLEARNED", help="Checkpoints after unlearning, one or many.", show_default=False),
    ],
    *,
    forget: Annotated[
        str, typer.Option(metavar="FILE", help="Facts to be forgotten: JSONL, CSV, Parquet, ...", show_default=False)
    ],
    retain: Annotated[
        str | None, typer.Option(metavar="FILE", help="Facts to be retained; without them no verdict is erased.")
    ] = None,
    retrained: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Retrained model: a checkpoint trained without the forget facts, for comparison."
        ),
    ] = None,
    texts: Annotated[str | None, typer.Option(metavar="FILE", help="Plain texts, for perplexity.")] = None,
    attacks: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Attacks or families of attacks; quick: those that neither train nor sample. [default: all]",
        ),
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of an attack, e.g. continued_kept.steps=50. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="VERDICT.json", help="Write the verdict as JSON.")] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FIGURE", help="Draw the panel to this file: .html, .png, .pdf or .svg.")
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Exit with status 3 if any checkpoint has one of these verdicts, e.g. suppressed,traces.",
        ),
    ] = "",
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="PAGE.html",
            help="Write the leaderboard: a table to sort, filter and compare. "
            "[default, with several checkpoints: beside --out]",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows in one forward pass.", min=1)] = 32,
    adapter_base: options.AdapterBase = None,
    task: options.Task = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing verdict.")] = False,
    prompting: options.PromptOptions,
    running: options.RunOptions,
) -> None:
    """Say whether facts were erased, suppressed or not forgotten.

    Runs a panel of attacks on each checkpoint. No attack sees a fact that it is tested on; an exact test then says
    whether the right answers still stand out. Verdicts: not forgotten, suppressed, traces left, erased, broken, cannot
    tell. With --out, give the same command again to continue an interrupted run; the ranks of torchrun share the work.
    """
    failing = verdicts_named(fail_on)
    if out is not None:
        outputs.check_file(out, ".json", overwrite=overwrite or not task_of(task).merges)
    if figure is not None:
        from dissect.plots import export

        outputs.check_file(figure, *export.PAGES, *export.IMAGES, option="--figure", overwrite=overwrite)
        export.check_path(figure)
    page = outputs.leaderboard(page, out, len(unlearned), overwrite=overwrite)
    paths = {"forget": forget, "retain": retain, "texts": texts}
    facts: dict[str, Any] = {name: prompting.facts(path) for name, path in paths.items() if path is not None}
    told = values.measured(option)
    chat = prompting.chat_choice()
    running.start()

    from dissect.verdicts.verdict import verdict as judge

    verdicts = judge(
        unlearned,
        base=base,
        retrained=retrained,
        **facts,
        attacks=values.listed(attacks, "--attacks") if attacks else None,
        options=told,
        answers=prompting.answers,
        template=prompting.wording,
        chat=chat,
        max_new_tokens=prompting.max_new_tokens,
        max_length=prompting.max_length,
        stride=prompting.stride,
        dtype=running.dtype,
        device=running.device,
        batch_size=batch_size,
        seed=running.seed,
        out=out,
        task=task,
        overwrite=overwrite,
        adapter_base=adapter_base,
        progress=running.progress,
    )
    if is_main():
        _report(verdicts)
        if out is not None:
            say(f"saved {out}")
        if figure is not None:
            from dissect import plots

            export.write(plots.panel(verdicts), figure)
            say(f"saved {figure}")
        if page is not None:
            from dissect.autopsy.interactive.leaderboard import write_leaderboard

            say(f"saved {write_leaderboard(verdicts, page)}")
    if any(each.verdict in failing for each in verdicts):
        raise typer.Exit(FAILED)


def verdicts_named(text: str) -> set[str]:
    """The verdicts that ``--fail-on`` names; ``traces`` and hyphens are understood.

    Raises:
        DissectError: one that does not exist.
    """
    from typing import get_args

    from dissect.verdicts.rule import Word

    known = get_args(Word)
    named = set()
    for part in filter(None, (part.strip().replace("-", " ") for part in text.split(","))):
        word = "traces left" if part == "traces" else part
        if word not in known:
            raise DissectError(f"--fail-on {part!r}: no such verdict{near_miss(part, known)}: use {', '.join(known)}")
        named.add(word)
    return named


def _report(verdicts: Any) -> None:
    from dissect.cli.arguments.aligned import columns

    shown = verdicts.table()
    say(columns([list(map(str, shown.columns)), *(list(map(str, row)) for row in shown.to_numpy())]))
    for each in verdicts:
        say(f"\n{each.name}: {each.headline}. {each.words}")
    for group in verdicts.groups:
        if group["note"]:
            say(f"\ngroup {group['name']!r}: {group['note']}")
    for note in verdicts.spec.get("left_out", ()):
        say(f"\n{note}")
    say("")
