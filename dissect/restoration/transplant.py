"""Restoring parameters outside of a sweep: for the time of a block of code, or for good in a new model."""

import os
from collections.abc import Iterable, Sequence

from transformer_lens import HookedTransformer

from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.changing.copying import copied
from dissect.models.checkpoint import mark_changed
from dissect.models.comparable import check_same_shapes
from dissect.models.files.stored import StoredParameters
from dissect.models.pair import ModelPair
from dissect.models.sharding.shards import put
from dissect.restoration.blend import Mix
from dissect.restoration.blocks import BlockAt, part_parameters
from dissect.restoration.parameter_swap import Parameters, ParameterSwap, mixed
from dissect.restoration.slices import Slices, single_slice
from dissect.undoing.change import Change


@keywords()
def restored(
    model: HookedTransformer,
    donor: HookedTransformer | str | os.PathLike[str],
    *,
    blocks: str | Sequence[BlockAt],
    layers: Iterable[int] | None = None,
    heads: Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
    rank: int | None = None,
    t: float | int | None = None,
) -> Change[HookedTransformer]:
    """``model`` with the donor's ``blocks`` in ``layers`` (all by default), in the body only.

    Undone to the bit afterwards, also after an exception or Ctrl-C; contexts may be nested.

    Args:
        donor: a model, or the directory, hub id or adapter of one: then only the tensors in play are read.
        blocks: parameter blocks. Those outside the layers (``embed``, ``unembed``, ``ln_final``, ``pos_embed``) take no
            part in ``layers``; a pair ``(layer, block)`` names one in its own layer.
        heads, neurons, rank, t: only so much of them; see ``restore``.

    Raises:
        DissectError: something does not exist, or the shapes differ; before anything is changed.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> with dissect.restored(pair.unlearned, pair.base, blocks=["mlp.W_out"], layers=[0, 1]) as model:
        ...     answers = model(pair.tokenizer("Question:", return_tensors="pt").input_ids)
    """
    names = part_parameters(model, blocks, layers)
    steps = _steps(model, blocks, heads, neurons, rank, t)
    if isinstance(donor, HookedTransformer):
        check_same_shapes(model, donor)
        source = Parameters(donor, StoredParameters.of(donor) if donor.embed.W_E.is_meta else None)
    else:
        source = Parameters(model, StoredParameters.at(donor, model))
    swap = ParameterSwap(source, names, steps).applied(model)
    return Change(model, swap.do, swap.undo)


@keywords()
def transplant(
    pair: ModelPair,
    *,
    blocks: str | Sequence[BlockAt],
    layers: Iterable[int] | None = None,
    heads: Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
    rank: int | None = None,
    t: float | int | None = None,
    donor: str = "base",
    recipient: str = "unlearned",
) -> HookedTransformer:
    """A new model: the recipient with the donor's ``blocks`` in ``layers``. ``dissect.save_hf`` writes it.

    The arguments are those of ``restored``. While the pair holds one model at a time, the donor's tensors are read from
    its files one by one.

    Raises:
        DissectError: as ``restored``.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> fixed = dissect.transplant(pair, blocks=["mlp"], layers=[0, 1])
        >>> dissect.save_hf(fixed, "runs/restored")
        PosixPath('runs/restored')
    """
    donor_model, recipient_model = pair.shapes(donor, recipient)
    names = part_parameters(recipient_model, blocks, layers)
    steps = _steps(recipient_model, blocks, heads, neurons, rank, t)
    source = Parameters(donor_model, StoredParameters.of(donor_model) if pair.one_at_a_time else None)
    source.want(names)
    pair.wake(recipient_model)
    fixed = copied(recipient_model)
    for name in names:
        parameter = fixed.get_parameter(name)
        put(parameter, mixed(steps, name, parameter, source.parameter(name)))
    mark_changed(fixed, f"{names} {steps} of {pair.provenance().get(f'{donor}_fingerprint')}")
    return fixed


def _steps(
    model: HookedTransformer,
    blocks: str | Sequence[BlockAt],
    heads: Sequence[int] | None,
    neurons: Sequence[int] | None,
    rank: int | None,
    t: float | int | None,
) -> tuple[Mix, ...]:
    for name, value in (("rank", rank), ("t", t)):
        if value is not None and not isinstance(value, (int, float)):
            raise DissectError(
                f"{name}={value}: one model has one {name}, give a number; dissect.restore takes several"
            )
    parts = [blocks] if isinstance(blocks, str) else [part if isinstance(part, str) else part[1] for part in blocks]
    cut = Slices(
        heads=None if heads is None else [list(heads)],
        neurons=None if neurons is None else [list(neurons)],
        rank=None if rank is None else [rank],
        t=None if t is None else [t],
    )
    return single_slice(model, list(dict.fromkeys(parts)), cut)
