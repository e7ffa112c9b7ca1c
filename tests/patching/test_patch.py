"""Activation and parameter sweeps against the plain procedure, and the properties that every sweep must have."""

import hashlib
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

import dissect
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from tests.support import plain
from tests.support.layouts import make_old_olmo, make_whole_gemma3, read_old_olmo
from tests.support.tiny import ARCHITECTURES, FAMILIES

COMPONENTS = ["mlp_post", "attn_out", ("mlp_post", "attn_out")]


def prompts_of(facts: Facts, pair: dissect.ModelPair) -> Prompts:
    return facts.prompts(pair.tokenizer, template="Question: {question}\nAnswer:")


def answer_rows(prompts: Prompts) -> plain.Rows:
    ids = [row[:length].tolist() for row, length in zip(prompts.tokens, prompts.lengths, strict=True)]
    scored = [(mask.nonzero()[:, 0] - 1).tolist() for mask in prompts.answer_mask]
    return plain.Rows(ids, scored)


def sha(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode() + parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def native(directory: Path, architecture: str) -> torch.nn.Module:
    """transformers' own model, also of layouts that it does not read."""
    if architecture == "old_olmo":
        return read_old_olmo(directory)
    auto = AutoModelForImageTextToText if architecture == "whole_gemma3" else AutoModelForCausalLM
    return auto.from_pretrained(directory, attn_implementation="eager").eval()


def pair_of_layouts(architecture: str, root: Path) -> tuple[Path, Path]:
    for seed, name in enumerate(("base", "unlearned")):
        if architecture == "old_olmo":
            make_old_olmo(root / name, seed=seed, n_kv_heads=2)
        else:
            make_whole_gemma3(root / name, seed=seed)
    return root / "base", root / "unlearned"


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "old_olmo", "whole_gemma3"])
def test_krs_equals_the_plain_procedure(architecture, tiny_pair, facts, tmp_path):
    known = architecture in ARCHITECTURES
    directories = tiny_pair(architecture) if known else pair_of_layouts(architecture, tmp_path)
    pair = dissect.load_pair(*directories, progress=False)
    prompts = prompts_of(facts, pair)
    before = sha(pair.unlearned)
    result = dissect.concat(
        dissect.patch(pair, prompts, COMPONENTS, window=3, progress=False),
        dissect.restore(pair, prompts, ["mlp.W_out"], window=3, progress=False),
    )
    assert sha(pair.unlearned) == before
    base, unlearned = (native(directory, architecture) for directory in directories)
    rows = answer_rows(prompts)
    for label, parts in {
        "mlp_post": ["mlp_post"],
        "attn_out": ["attn_out"],
        "mlp_post+attn_out": ["mlp_post", "attn_out"],
        "mlp.W_out": ["values"],
    }.items():
        expected = plain.krs(base, unlearned, rows, architecture=architecture, components=parts, window=3)
        actual = result.recovery("krs").sel(component=label).transpose("layer", "prompt")
        np.testing.assert_allclose(actual.values, expected.numpy(), atol=1e-4)


def test_published_scoring_is_the_notebooks_window(tiny_pair, facts):
    """Left padding, ``logits[i, -n:]`` with their count n: reproduced, and not the same as the answer's positions."""
    directories = tiny_pair("llama")
    pair = dissect.load_pair(*directories, progress=False)
    prompts = prompts_of(facts[:2], pair)
    counts = [int(n) for n in prompts.published_counts()]
    result = dissect.patch(pair, prompts, ["mlp_post"], window=5, scoring="published", progress=False)
    base, unlearned = (AutoModelForCausalLM.from_pretrained(directory).eval() for directory in directories)
    lengths = prompts.lengths.tolist()
    ids = [row[:length].tolist() for row, length in zip(prompts.tokens, lengths, strict=True)]
    last = [list(range(length - n, length)) for length, n in zip(lengths, counts, strict=True)]
    rows = plain.Rows(ids, last, side="left")
    expected = plain.krs(base, unlearned, rows, architecture="llama", components=["mlp_post"], window=5)
    actual = result.recovery("krs").sel(component="mlp_post")
    np.testing.assert_allclose(actual.values, expected.numpy(), atol=1e-4)
    assert result.data["n_scored"].values.tolist() == counts
    right = dissect.patch(pair, prompts, ["mlp_post"], window=5, progress=False).recovery("krs")
    assert float(np.abs(right.values - actual.values).max()) > 1e-3


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_model_patched_into_itself_does_not_change(architecture, tiny_pair, facts):
    model = dissect.load(tiny_pair(architecture)[0], progress=False)
    pair = dissect.ModelPair(model, model)
    result = dissect.patch(pair, prompts_of(facts, pair), COMPONENTS, window=1, progress=False)
    assert np.abs(result.values("krs").values).max() == 0.0
    assert np.isnan(result.recovery("krs").values).all()
    assert result.ci("krs")["n_undefined"].values.min() == len(facts)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_batching_padding_and_resuming_change_nothing(architecture, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    prompts = prompts_of(facts, pair)
    together = dissect.patch(pair, prompts, COMPONENTS, window=1, progress=False).recovery()
    alone = dissect.patch(pair, prompts, COMPONENTS, window=1, batch_size=1, progress=False).recovery()
    np.testing.assert_allclose(together.values, alone.values, atol=1e-5)
    for cells_per_pass in (2, 5, 100):
        stacked = dissect.patch(pair, prompts, COMPONENTS, window=1, cells_per_pass=cells_per_pass, progress=False)
        np.testing.assert_allclose(stacked.recovery().values, together.values, atol=1e-5)
    only = dissect.patch(pair, prompts, COMPONENTS, window=1, layers=[2], progress=False).recovery()
    np.testing.assert_allclose(together.sel(layer=[2]).values, only.values, atol=0)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_restoring_everything_gives_the_base_model(architecture, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    tokens = prompts_of(facts, pair).tokens
    everything = ["block", "embed", "ln_final", "unembed"] + (["pos_embed"] if hasattr(pair.base, "pos_embed") else [])
    if not any(name.startswith("ln_final.") for name, _ in pair.base.named_parameters()):
        everything.remove("ln_final")
    before, own = sha(pair.unlearned), pair.unlearned(tokens, padding_side="right")
    with dissect.restored(pair.unlearned, pair.base, blocks=everything) as model:
        assert torch.equal(model(tokens, padding_side="right"), pair.base(tokens, padding_side="right"))
    assert sha(pair.unlearned) == before
    assert torch.equal(pair.unlearned(tokens, padding_side="right"), own)
    copied = dissect.transplant(pair, blocks=everything)
    assert torch.equal(copied(tokens, padding_side="right"), pair.base(tokens, padding_side="right"))
    assert sha(pair.unlearned) == before


@pytest.mark.parametrize("architecture", ["llama", "llama_tied", "gpt2", "gemma2"])
def test_restored_is_undone_after_an_exception(architecture, tiny_pair):
    pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
    before = sha(pair.unlearned)
    with (
        pytest.raises(KeyboardInterrupt),
        dissect.restored(pair.unlearned, pair.base, blocks=["block", "embed"]),
        dissect.restored(pair.unlearned, pair.base, blocks=["mlp.W_out"], layers=[1]),
    ):
        assert sha(pair.unlearned) != before
        raise KeyboardInterrupt
    assert sha(pair.unlearned) == before


def test_both_directions_use_the_same_cells(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = prompts_of(facts, pair)
    there = dissect.patch(pair, prompts, ["mlp_post"], metrics=["logprob"], progress=False)
    back = dissect.patch(
        pair, prompts, ["mlp_post"], metrics=["logprob"], donor="unlearned", recipient="base", progress=False
    )
    np.testing.assert_allclose(there.data["logprob_donor"], back.data["logprob_recipient"], atol=1e-6)
    np.testing.assert_allclose(there.data["logprob_recipient"], back.data["logprob_donor"], atol=1e-6)
    assert there.data["members"].equals(back.data["members"])


def test_metrics_equal_their_definitions(tiny_pair, facts):
    directories = tiny_pair("llama")
    pair = dissect.load_pair(*directories, progress=False)
    prompts = prompts_of(facts, pair)
    result = dissect.patch(pair, prompts, ["attn_out"], layers=[0], metrics=["krs", "kl", "logprob"], progress=False)
    rows = answer_rows(prompts)
    base, unlearned = (AutoModelForCausalLM.from_pretrained(directory).eval() for directory in directories)
    with torch.no_grad():
        theirs, ours = plain.logits(base, rows), plain.logits(unlearned, rows)
    for prompt in range(len(prompts)):
        p, q = theirs[prompt].softmax(-1), ours[prompt].softmax(-1)
        answer = prompts.tokens[prompt][prompts.answer_mask[prompt]]
        expected = {
            "krs_recipient": (theirs[prompt] - ours[prompt]).pow(2).mean(),
            "kl_recipient": (p * (p.log() - q.log())).sum(-1).mean(),
            "logprob_recipient": q.log()[torch.arange(len(answer)), answer].mean(),
            "logprob_donor": p.log()[torch.arange(len(answer)), answer].mean(),
            "krs_donor": torch.tensor(0.0),
            "kl_donor": torch.tensor(0.0),
        }
        for name, value in expected.items():
            assert result.data[name].values[prompt] == pytest.approx(float(value), abs=1e-5), name


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"components": ["mlp_poost"]}, "no activation site 'mlp_poost'"),
        ({"components": [("mlp_post", "mlp_post")]}, "twice"),
        ({"components": ["mlp_post", "mlp_post"]}, "twice"),
        ({"components": []}, "nothing to sweep"),
        ({"window": 4}, "odd number"),
        ({"window": 0}, "odd number"),
        ({"layers": [7]}, "no layer 7: the model has layers 0 to 2"),
        ({"layers": []}, "nothing to sweep"),
        ({"metrics": ["rouge"]}, "no metric 'rouge'"),
        ({"scoring": "best"}, "no scoring 'best'"),
        ({"donor": "teacher"}, "no model 'teacher'"),
        ({"donor": "retrained"}, "no retrained model"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"scoring": "published", "metrics": ["logprob"]}, "use scoring='answer'"),
    ],
)
def test_what_does_not_exist_is_refused(asked, said, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    with pytest.raises(dissect.DissectError, match=said.replace("(", r"\(")) as caught:
        dissect.patch(pair, prompts_of(facts[:2], pair), progress=False, **asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("block", "said"),
    [("mlp.W_gate", "has no 'mlp.W_gate'"), ("W_out", "no parameter block"), ("mlp_post", "no parameter block")],
)
def test_blocks_that_do_not_exist_are_refused(block, said, tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("gpt2"), progress=False)
    with pytest.raises(dissect.DissectError, match=said):
        dissect.restore(pair, prompts_of(facts, pair), [block], progress=False)


@pytest.fixture
def unchecked(monkeypatch):
    """Without the tests' checks of annotations, which users do not have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("ask", [dissect.patch, dissect.restore, dissect.attribute, dissect.smallest_set])
def test_no_pair_or_no_prompts_is_refused(ask, tiny_pair, facts, unchecked):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = prompts_of(facts, pair)
    for arguments, said in (
        ((pair, prompts[:0]), "there are no prompts"),
        ((pair, facts), r"must be prompts, got Facts: facts.prompts\(pair.base\)"),
        ((pair, ["Who?"]), r"must be prompts, got list: Facts\(\[...\]\).prompts"),
        ((pair.base, prompts), r"must be a pair, got HookedTransformer: load_pair\(base, unlearned\)"),
    ):
        with pytest.raises(dissect.DissectError, match=said):
            ask(*arguments, progress=False)


def test_one_number_is_a_list_of_one(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = prompts_of(facts, pair)
    for name, value in (("rank", 2), ("t", 0.5), ("heads", 1), ("layers", 2)):
        one, several = (
            dissect.restore(pair, prompts, ["attn.W_Q"], window=1, progress=False, **{name: given})
            for given in (value, [value])
        )
        assert one.recovery().identical(several.recovery()), name


def test_a_transplant_has_one_rank(tiny_pair, unchecked):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    with pytest.raises(dissect.DissectError, match=r"rank=\[1, 2\]: one model has one rank"):
        dissect.transplant(pair, blocks=["mlp"], rank=[1, 2])
