"""`dissect inspect`: a checkpoint described, or two compared."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dissect.cli.arguments import options, outputs
from dissect.cli.arguments.say import say
from dissect.errors import DissectError

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

    from dissect.models.files.description import Description
    from dissect.models.layout import Layout


def inspect(
    base: options.Base,
    unlearned: Annotated[
        str | None, typer.Argument(metavar="UNLEARNED", help="Checkpoint to compare BASE with.", show_default=False)
    ] = None,
    *,
    drift: Annotated[
        Path | None,
        typer.Option(
            metavar="DRIFT.nc",
            help="Write the drift map (what changed, by block and layer) to this file.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Run the library's own checks on the checkpoint; exit 1 where one fails.")
    ] = False,
    fingerprint: Annotated[
        bool, typer.Option("--fingerprint", help="Read the weights, and show the fingerprint that results store.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing drift map.")] = False,
    adapter_base: options.AdapterBase = None,
    allow_extra_rows: options.AllowExtraRows = False,
    running: options.RunOptions,
) -> None:
    """Describe a checkpoint, or compare two.

    Shows sizes, tokenizer, and the names of activation sites and parameter blocks that the other commands take, from
    config.json and the headers of the weights alone; --fingerprint also reads the weights. With
    UNLEARNED, shows how far the parameters of each block moved. With --drift, writes a file for `dissect plot`: norms
    and ranks of the change, and how much of it survives rounding to 8 and 4 bits. With --check, compares logits,
    generation and the ids of the chat template with those of transformers, patches every site with itself, saves and
    reloads the model, and prints one line per check.
    """
    if drift is not None:
        outputs.check_file(drift, ".nc", option="--drift", overwrite=overwrite)
        if unlearned is None:
            raise DissectError("--drift compares two checkpoints: name UNLEARNED as well")
    if check and unlearned is not None:
        raise DissectError("--check runs on one checkpoint: leave UNLEARNED out")
    if check:
        running.start()
        _check(base, adapter_base, running)
        return
    if unlearned is None and not fingerprint:
        from dissect.models.files.description import described_by_files

        description = described_by_files(base)
        if description is not None:
            say(describe(base, description))
            return
    running.start()
    from dissect.models.adapter_base import adapter_base_of
    from dissect.models.files.load import load
    from dissect.models.pair import load_pair

    loading: dict[str, Any] = {"dtype": running.dtype, "device": running.device, "progress": running.progress}
    model = load(base, base=adapter_base_of(base, given=adapter_base), **loading)
    if unlearned is None:
        say(describe_loaded(model))
        return
    pair = load_pair(model, unlearned, adapter_base=adapter_base, allow_extra_rows=allow_extra_rows, **loading)
    say(describe_loaded(model))
    say(f"\n{pair.unlearned.checkpoint.source}: differs in its weights only\n\n{pair.alignment!r}")
    if drift is not None:
        from dissect.measures.representation.drift import drift as measured

        measured(pair, progress=running.progress).save(drift)
        say(f"saved {drift}")


def _check(source: str, adapter_base: str | None, running: options.RunOptions) -> None:
    from dissect.evaluation.self_check import self_check
    from dissect.models.adapter_base import adapter_base_of

    under = adapter_base_of(source, given=adapter_base)
    results = self_check(source, base=under, device=running.device, progress=running.progress)
    for result in results:
        say(str(result))
    if any(result.passed is False for result in results):
        raise typer.Exit(1)


def describe_loaded(model: "HookedTransformer") -> str:
    """Rows of ``describe``, and those that need the weights: their fingerprint, and an adapter that was merged."""
    from dissect.models.families import find_family, transformers_config
    from dissect.models.files.description import Description
    from dissect.models.layout import layout_of

    checkpoint, tokenizer = model.checkpoint, model.tokenizer
    family = find_family(checkpoint.config)
    description = Description(
        architecture=checkpoint.architecture,
        layout=layout_of(family, transformers_config(family, checkpoint.config)),
        weights=checkpoint.dtype,
        tokenizer=_tokenizer(tokenizer),
        chat_template=getattr(tokenizer, "chat_template", None) is not None,
    )
    rows = [("fingerprint", checkpoint.fingerprint)]
    if checkpoint.adapter is not None:
        rows.append(("adapter", f"{checkpoint.adapter}, merged"))
    return describe(str(checkpoint.source), description, rows)


def describe(source: str, description: "Description", more: Sequence[tuple[str, str]] = ()) -> str:
    """Sizes, tokenizer, and the sites and blocks with the names of their hooks and parameters."""
    from dissect.cli.arguments.aligned import columns

    asked = "yes: ask with --chat" if description.chat_template else "none"
    about = [*_sizes(description), *more, ("tokenizer", description.tokenizer), ("chat template", asked)]
    return "\n".join(
        [
            source,
            _indented(columns(about)),
            "",
            "activation sites (dissect patch --components)",
            _indented(columns(_sites(description.layout))),
            "",
            "parameter blocks (dissect restore --blocks)",
            _indented(columns(_blocks(description.layout))),
        ]
    )


def _sizes(description: "Description") -> list[tuple[str, str]]:
    layout = description.layout
    cfg, parameters = layout.settings, sum(map(math.prod, layout.stored.values()))
    groups = cfg["n_key_value_heads"] or cfg["n_heads"]
    shared = "" if groups == cfg["n_heads"] else f", {groups} key/value heads"
    return [
        ("architecture", description.architecture),
        ("layers", str(cfg["n_layers"])),
        ("width", str(cfg["d_model"])),
        ("heads", f"{cfg['n_heads']} of width {cfg['d_head']}{shared}"),
        ("MLP", f"width {cfg['d_mlp']}, {cfg['act_fn']}{', gated' if cfg.get('gated_mlp') else ''}"),
        ("vocabulary", f"{cfg['d_vocab']} tokens"),
        ("context", f"{cfg['n_ctx']} tokens"),
        ("parameters", f"{parameters:,}"),
        ("embeddings", "tied: output is input" if layout.tied else "input and output apart"),
        ("stored as", description.weights),
    ]


def _tokenizer(tokenizer: Any) -> str:
    if tokenizer is None:
        return "none"
    specials = ", ".join(
        f"{name} {token!r}" for name in ("bos", "eos") if (token := getattr(tokenizer, f"{name}_token"))
    )
    first = tokenizer("a")["input_ids"][:1]
    adds = "puts BOS first" if first and first[0] == tokenizer.bos_token_id else "puts nothing first"
    return f"{type(tokenizer).__name__}, {len(tokenizer)} tokens, {specials or 'no bos, no eos'}, {adds}"


def _sites(layout: "Layout") -> list[tuple[str, ...]]:
    from dissect.patching.sites import SITES, hook_name, sites_of

    sites = sites_of(parallel=bool(layout.settings.get("parallel_attn_mlp")))
    return [(site, hook_name(site, 0).replace(".0.", ".{layer}.", 1), SITES[site].meaning) for site in sites]


def _blocks(layout: "Layout") -> list[tuple[str, str]]:
    """Each block with its parameters, the larger ones with the number of them; then those outside the layers."""
    from dissect.models.block_names import LAYER_BLOCKS, OUTSIDE_BLOCKS, names_in_layer, names_outside

    first = "blocks.0."
    in_layer = [name.removeprefix(first) for name in layout.stored if name.startswith(first)]
    rows = []
    for block in LAYER_BLOCKS:
        try:
            names = names_in_layer(block, in_layer)
        except DissectError:
            continue  # the architecture has no such block
        shown = ", ".join(f"blocks.{{layer}}.{name}" for name in names)
        rows.append((block, shown if len(names) < 3 else f"{len(names)} parameters of each layer"))
    for block in OUTSIDE_BLOCKS:
        try:
            names = names_outside(block, layout.stored, tied=layout.tied)
        except DissectError:
            continue
        rows.append((block, f"{', '.join(names)} (outside the layers)"))
    return rows


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
