"""Rounded models: the levels, the model that computes with them, and that nothing is left of it afterwards."""

import copy
import json

import numpy as np
import pytest
import torch
from scipy.stats import norm
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

import dissect
from dissect.cli import main
from dissect.models.changing import rounding
from dissect.models.changing.rounding import FORMATS, rounded
from tests.support.tiny import FAMILIES

SHAPES = [(5, 64), (3, 200), (7, 40), (1, 1), (4, 129)]


def normal_float() -> np.ndarray:
    """NF4 as the QLoRA paper makes it: quantiles of the normal distribution, 8 above 0 and 7 below, and 0."""
    offset = 0.5 * ((1 - 1 / 32) + (1 - 1 / 30))
    above, below = (norm.ppf(np.linspace(offset, 0.5, n)[:-1]) for n in (9, 8))
    levels = np.sort([*above, 0.0, *-below])
    return levels / levels.max()


def groups(row: np.ndarray, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, len(row), size)]


def plainly(matrix: np.ndarray, format: str) -> np.ndarray:
    """The same rounding once more, group by group, in numpy."""
    found = np.zeros(matrix.shape)  # in the order of its axes, whatever that of the matrix
    if format == "nf4":
        flat, out, levels = matrix.reshape(-1).astype(np.float64), found.reshape(-1), normal_float()
        for part in groups(flat, 64):
            scale = np.abs(flat[part]).max() or 1.0
            out[part] = levels[np.abs(flat[part][:, None] / scale - levels).argmin(1)] * scale
        return found
    top, size = (127, matrix.shape[1]) if format == "int8" else (7, 128)
    for row, out in zip(matrix.astype(np.float64), found, strict=True):
        for part in groups(row, size):
            step = (np.abs(row[part]).max() or 1.0) / top
            out[part] = np.round(row[part] / step) * step
    return found


def test_nf4_is_the_normal_float_of_the_paper():
    np.testing.assert_allclose(rounding._NF4, normal_float(), atol=2e-7)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rounding_is_that_of_numpy(shape, format):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.3
    matrix[0, : shape[1] // 2] = 0
    np.testing.assert_allclose(rounded(matrix, format).numpy(), plainly(matrix.numpy(), format), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_again_changes_no_bit(format, dtype):
    matrix = torch.randn(40, 300, generator=torch.Generator().manual_seed(1), dtype=dtype)
    once = rounded(matrix, format)
    assert torch.equal(rounded(once, format), once)
    most = {"int8": 255 * 40, "int4": 15 * 40 * 3, "nf4": 16 * 188}[format]
    assert not torch.equal(once, matrix.float())
    assert len(once.unique()) <= most


def test_hand_worked_levels():
    row = torch.tensor([[7.0, -3.4, 3.5, 0.0]])
    assert rounding.int4_levels(row).tolist() == [[7, -3, 4, 0]]
    assert rounding.int8_levels(row).tolist() == [[127, -62, 64, 0]]
    assert rounding.nf4_levels(row).tolist() == [[15, 2, 12, 7]]  # 0.5 lies below the middle of 0.4407 and 0.5626
    assert rounded(torch.zeros(2, 3), "int8").tolist() == [[0.0] * 3] * 2


def rounded_by_hand(path, format: str, embeddings: bool) -> torch.nn.Module:
    """transformers' own model, its linear layers rounded one by one."""
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
    head = model.get_output_embeddings()
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)) and (module is not head):
            turned = isinstance(module, Conv1D)
            weight = module.weight.data.T if turned else module.weight.data
            new = torch.tensor(plainly(weight.numpy(), format), dtype=torch.float32)
            module.weight.data = new.T if turned else new
    if embeddings:
        for module in {id(m.weight): m for m in (model.get_input_embeddings(), head)}.values():
            module.weight.data.copy_(torch.tensor(plainly(module.weight.data.numpy(), format)))
    return model


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("architecture", [*FAMILIES, "llama_tied", "gpt2_scaled", "llama_bias"])
def test_logits_are_those_of_transformers_with_rounded_weights(architecture, format, tiny_pair):
    embeddings = architecture in ("llama", "llama_tied", "gpt2")
    path = tiny_pair(architecture)[0]
    tokens = torch.arange(2, 26).view(2, 12)
    model = dissect.load(path, progress=False)
    with torch.no_grad():
        as_it_is = model(tokens)
        with dissect.quantised(model, format, embeddings=embeddings):
            found = model(tokens)
        expected = rounded_by_hand(path, format, embeddings)(tokens).logits
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert float((found - as_it_is).abs().max()) > (5e-3 if format == "int8" else 0.1)
        assert torch.equal(model(tokens), as_it_is)


def state(model) -> dict[str, tuple[int, torch.Tensor]]:
    return {name: (p.data_ptr(), p.detach().clone()) for name, p in model.named_parameters()}


def assert_as_before(model, before, checkpoint) -> None:
    assert model.checkpoint is checkpoint
    for name, parameter in model.named_parameters():
        place, value = before[name]
        assert parameter.data_ptr() == place  # the very tensor
        assert torch.equal(parameter, value)


def test_undone_to_the_bit_whatever_happens(tiny_pair, facts):
    model = dissect.load(tiny_pair("phi3")[0], progress=False)
    before, checkpoint = state(model), model.checkpoint
    with pytest.raises(KeyboardInterrupt), dissect.quantised(model, "nf4"):
        dissect.unlearn(model, forget=facts, method="ga", epochs=1, lr=0.1, progress=False)
        assert not torch.equal(model.blocks[0].attn.W_Q, before["blocks.0.attn.W_Q"][1])
        raise KeyboardInterrupt
    untouched = {name: entry for name, entry in before.items() if ".W_" in name and name.startswith("blocks.")}
    for name, (place, value) in untouched.items():
        parameter = model.get_parameter(name)
        assert parameter.data_ptr() == place
        assert torch.equal(parameter, value)
    assert model.checkpoint is checkpoint


def test_only_matrices_of_the_layers_and_the_embeddings_if_asked(tiny_pair):
    for architecture in ("gpt2", "olmo2", "llama_tied"):
        model = dissect.load(tiny_pair(architecture)[0], progress=False)
        before, checkpoint = state(model), model.checkpoint
        for embeddings in (False, True):
            with dissect.quantised(model, "int4", embeddings=embeddings) as same:
                assert same is model
                changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n][1])}
                strides = {n: p.stride() for n, p in model.named_parameters()}
                assert checkpoint.frozen == model.checkpoint.frozen
            matrices = {n for n in before if n.startswith("blocks.") and ".W_" in n.replace("._W", ".W")}
            outside = {n for n in ("embed.W_E", "unembed.W_U") if n in before} if embeddings else set()
            assert changed == matrices | outside
            assert strides == {n: p.stride() for n, p in model.named_parameters()}
            assert_as_before(model, before, checkpoint)


def test_what_is_computed_says_so(tiny_pair, facts, tmp_path):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = facts.prompts(pair.base)
    how = {"components": "mlp_post", "window": 1, "progress": False}
    plain, aligned = dissect.patch(pair, prompts, **how), pair.alignment
    with dissect.quantised(pair.base, "nf4"), dissect.quantised(pair.unlearned, "nf4"):
        found = dissect.patch(pair, prompts, **how)
        assert not pair.alignment.layers.equals(aligned.layers)
        copied = copy.deepcopy(pair.unlearned)
    assert pair.alignment.layers.equals(aligned.layers)
    assert (found.spec["base_quantised"], found.spec["unlearned_quantised"]) == ("nf4", "nf4")
    assert "base_quantised" not in plain.spec
    assert found.spec["base_fingerprint"] != plain.spec["base_fingerprint"]
    assert "llama-gemma in nf4" in dissect.plots.curves(found).layout.title.text
    with pytest.raises(dissect.DissectError, match="differ in base_fingerprint"):
        dissect.concat(plain, found.rename({"mlp_post": "rounded"}))
    # the same numbers as those of checkpoints that were written rounded
    dirs = []
    for name, model in (("a", pair.base), ("b", pair.unlearned)):
        with dissect.quantised(model, "nf4"):
            dirs.append(dissect.save_hf(model, tmp_path / name))
    stored = dissect.patch(dissect.load_pair(*dirs, progress=False), prompts, **how)
    assert stored.data["krs"].equals(found.data["krs"])
    assert stored.data["krs_recipient"].equals(found.data["krs_recipient"])
    assert copied.checkpoint.quantised == "nf4"
    assert torch.equal(copied.blocks[1].mlp.W_out, dissect.load(dirs[1], progress=False).blocks[1].mlp.W_out)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_number_formats(dtype, tiny_pair):
    model = dissect.load(tiny_pair("llama")[0], dtype=dtype, progress=False)
    own = model.blocks[0].mlp.W_out.data.clone()
    with dissect.quantised(model, "int8"):
        found = model.blocks[0].mlp.W_out.data.clone()
    assert found.dtype == own.dtype
    assert torch.equal(found, rounded(own.T, "int8").T.to(own.dtype))


def test_what_cannot_be_rounded_is_refused(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    for format, said in (("nf3", "did you mean 'nf4'"), (4, "choose from int8, int4, nf4")):
        with pytest.raises(dissect.DissectError, match=said), dissect.quantised(pair.base, format):
            pass
    with (
        dissect.quantised(pair.base, "nf4"),
        pytest.raises(dissect.DissectError, match=r"quantised already .nf4"),
        dissect.quantised(pair.base, "int8"),
    ):
        pass
    with (
        dissect.quantised(pair.base, "nf4"),
        pytest.raises(dissect.DissectError, match="leave sequential out"),
        pair.sequential(),
    ):
        pass
    before, checkpoint = state(pair.base), pair.base.checkpoint
    with pair.sequential():
        pair.wake(pair.base)
        with (
            dissect.quantised(pair.base, "nf4"),
            pytest.raises(dissect.DissectError, match="the base model is quantised"),
        ):
            dissect.patch(pair, facts.prompts(pair.tokenizer), window=1, progress=False)
        with (
            pytest.raises(dissect.DissectError, match="weights are not in memory"),
            dissect.quantised(pair.unlearned, "nf4"),
        ):
            pass
    assert pair.base.checkpoint is checkpoint
    for name, parameter in pair.base.named_parameters():
        assert torch.equal(parameter, before[name][1])


@pytest.mark.parametrize("command", ["patch", "restore"])
def test_the_command_line_rounds_both(command, tiny_pair, facts, tmp_path, capsys):
    base, unlearned = tiny_pair("llama")
    file, out = str(facts.write(tmp_path / "f.jsonl")), tmp_path / "a.nc"
    given = [command, str(base), str(unlearned), "--facts", file, "--window", "1", "--quiet", "--out", str(out)]
    assert main([*given, "--quantise", "int4"]) == 0, capsys.readouterr().err
    found = dissect.SweepResult.load(out)
    assert (found.spec["base_quantised"], found.spec["unlearned_quantised"]) == ("int4", "int4")
    pair = dissect.load_pair(base, unlearned, progress=False)
    with dissect.quantised(pair.base, "int4"), dissect.quantised(pair.unlearned, "int4"):
        sweep = getattr(dissect, command)(pair, facts.prompts(pair.base), window=1, progress=False)
    assert sweep.data["krs"].equals(found.data["krs"])
    for extra, said in (
        (["--quantise", "int4", "--sequential"], "leave --sequential out"),
        (["--quantise", "int3"], "not one of int8, int4, nf4"),
    ):
        assert main([*given[:-1], str(tmp_path / "b.nc"), *extra]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "b.nc").exists()
    assert json.loads(found.data.attrs["spec"])["kind"]
