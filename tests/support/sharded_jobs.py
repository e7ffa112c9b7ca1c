"""What the tests of sharded models let ranks do, and one process as well, to compare."""

import os
import time
from pathlib import Path
from typing import Any

import torch

import dissect
from dissect.distributed import barrier, mesh, on_main, world
from dissect.models.files.fingerprint import Digest
from dissect.models.files.save import hf_tensors
from dissect.models.sharding.sharded import is_sharded
from dissect.models.sharding.shards import gathered, own_part

FACTS = dissect.Facts(
    [
        dissect.Fact(question="Where was Ada Lovelace born?", answer="In London, by the sea."),
        dissect.Fact(question="What is the profession of Basil?", answer="a baker"),
        dissect.Fact(question="Does Lily swim?", answer="Yes, Lily likes to swim."),
        dissect.Fact(question="Who paints old houses?", answer="He does"),
        dissect.Fact(question="Where is Paris?", answer="In France it is"),
    ]
)
RUNS: dict[str, dict[str, Any]] = {
    "npo": {"method": "npo", "lr": 5e-6, "retain_loss": "kl", "gradient_checkpointing": True},
    "undial": {"method": "undial", "lr": 5e-6, "variant": "masked"},
}
"""Three steps each: five facts in steps of two, the last of which leaves a rank without any."""


def measure(base: Path, unlearned: Path, sharded: bool) -> dict[str, Any]:
    """Sweeps, caches, restoration and what a rank holds."""
    how: dict[str, Any] = {"mesh": mesh()} if sharded else {}
    pair = dissect.load_pair(base, unlearned, progress=False, **how)
    prompts = FACTS[:3].prompts(pair.tokenizer)
    tokens, quiet = prompts.tokens, {"progress": False}
    before = _logits(pair.unlearned, tokens)
    logits, cache = pair.base.run_with_cache(tokens, padding_side="right")
    whole = {"blocks": ["mlp.W_out", "attn.W_Q", "ln_final"], "layers": [1, 2]}
    patched = dissect.patch(pair, prompts, components=["mlp_post", "attn_out", "z"], metrics=["krs", "kl"], **quiet)
    swapped = dissect.restore(pair, prompts, blocks=["mlp.W_out", "attn", "embed", "unembed"], **quiet)
    attributed = dissect.attribute(pair, prompts, components=["z", "mlp_post"], **quiet)
    found: dict[str, Any] = {
        "cache": {name: value.detach() for name, value in cache.items()} | {"logits": logits.detach()},
        **{name: _numbers(result) for name, result in (("p", patched), ("r", swapped), ("a", attributed))},
    }
    with dissect.restored(pair.unlearned, pair.base, **whole):
        found["restored"] = _logits(pair.unlearned, tokens)
        with dissect.restored(pair.unlearned, base, blocks="attn.W_V", heads=[1]):
            found["heads"] = _logits(pair.unlearned, tokens)
    answered = FACTS[:2].prompts(pair.base, answers="base", max_new_tokens=4, progress=False)
    found["generated"] = answered.tokens
    found["logits split"] = _numbers(dissect.logit_attribution(pair, prompts, progress=False))
    smallest = dissect.smallest_set(pair, prompts, blocks=["mlp.W_out", "attn"], beam=2, n_random=1, **quiet)
    found["smallest"] = torch.tensor([step.recovery for step in smallest.path])
    found["transplanted"] = _logits(dissect.transplant(pair, **whole), tokens)
    found["alignment"] = torch.tensor(pair.alignment.layers["relative_norm"].values)
    assert torch.equal(_logits(pair.unlearned, tokens), before)  # undone, to the bit
    if sharded:
        found["held"] = (
            sum(own_part(parameter).numel() for parameter in pair.base.parameters()),
            sum(parameter.numel() for parameter in pair.base.parameters()),
            pair.base.checkpoint.fingerprint,
            sorted(name for name, parameter in pair.base.named_parameters() if not parameter.requires_grad),
        )
    return found


def train(
    base: Path, dtype: str, replicate: int = 0, out: Path | None = None, die_at: int | None = None, **settings: Any
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of a run and the parameters after it; sharded if ``replicate`` is not 0.

    The last rank dies without a word after step ``die_at``.
    """

    def watch(model: Any, record: dict[str, Any]) -> None:
        if record["step"] == die_at and world().rank == world().size - 1:
            os._exit(9)

    how: dict[str, Any] = {"mesh": mesh(replicate=replicate)} if replicate else {}
    model = dissect.load(base, dtype=dtype, progress=False, **how)
    assert is_sharded(model) == bool(replicate)
    retain = FACTS[1:] if settings.get("retain_loss") else None
    run = dissect.unlearn(
        model,
        forget=FACTS,
        retain=retain,
        out=out,
        callbacks=[watch],
        progress=False,
        batch_size=2,
        epochs=1,
        max_grad_norm=0.5,
        checkpoint_every=1,
        **settings,
    )
    return [record["loss"] for record in run.records], {
        name: gathered(parameter).clone() for name, parameter in model.named_parameters()
    }


def run_train(base: Path, replicate: int, out: Path, die_at: int | None = None) -> Any:
    """A run with files."""
    return train(base, "float32", replicate, out, die_at, **RUNS["npo"])


def killed_train(base: Path, out: Path) -> Any:
    """One whose last rank dies before the third step."""
    return run_train(base, 1, out, die_at=2)


def train_all(base: Path, dtype: str, replicate: int = 0) -> dict[str, Any]:
    """Every run of ``RUNS``."""
    return {name: train(base, dtype, replicate, **settings) for name, settings in RUNS.items()}


def share_sweep(base: Path, unlearned: Path, out: Path) -> tuple[dict[str, Any], list[int]]:
    """A sweep over two copies of a sharded model, and which rows this rank computed."""
    from dissect.jobs.shared_journals import SharedJournals

    pair = dissect.load_pair(base, unlearned, mesh=mesh(sweep=2), progress=False)
    computed: list[int] = []
    write = SharedJournals.write

    def noted(journals: SharedJournals, batch: int, index: int, row: Any) -> None:
        computed.append(1000 * batch + index)
        write(journals, batch, index, row)

    SharedJournals.write = noted  # type: ignore[method-assign]
    try:
        result = sweep(pair, out)
    finally:
        SharedJournals.write = write  # type: ignore[method-assign]
    return result, computed


def sweep(pair: dissect.ModelPair, out: Path | None = None) -> dict[str, Any]:
    """One that several copies share."""
    prompts = FACTS.prompts(pair.tokenizer)
    return _numbers(
        dissect.patch(pair, prompts, components=["mlp_post", "attn_out"], batch_size=2, out=out, progress=False)
    )


def compute_in_bfloat16(base: Path, out: Path) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Logits and losses of a model that runs in bfloat16, and the formats of its shards."""
    model = dissect.load(base, mesh=mesh(), compute_dtype="bfloat16", progress=False)
    prompts = FACTS.prompts(model)
    logits = _logits(model, prompts.tokens)
    run = dissect.unlearn(model, forget=prompts, method="npo", epochs=1, lr=1e-4, out=out, progress=False)
    return logits, torch.tensor([record["loss"] for record in run.records]), [str(p.dtype) for p in model.parameters()]


def hang(seconds: float) -> None:
    """Rank 1 does not answer for so long."""
    if world().rank == 1:
        time.sleep(seconds)
    on_main(lambda: None)
    barrier()


def load_damaged(path: Path) -> str:
    """What a rank is told of a checkpoint of which one tensor is damaged."""
    try:
        dissect.load(path, mesh=mesh(), progress=False)
    except dissect.DissectError as error:
        return str(error)
    return "nothing"


def fingerprint(path: Path) -> str:
    """Of what a directory holds."""
    model = dissect.load(path, progress=False)
    digest = Digest(model.checkpoint.config)
    for name, tensor in hf_tensors(model):
        digest.add(name, tensor)
    return digest.hexdigest()


@torch.no_grad()
def _logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    return model(tokens, padding_side="right").clone()


def _numbers(result: Any) -> dict[str, torch.Tensor]:
    data = result.data
    return {name: torch.tensor(data[name].values) for name in data if data[name].dtype.kind == "f"}
