"""Writing leaves nothing half done behind, and destroys nothing that was not asked for."""

import pytest

import dissect
from dissect.files import atomic_directory, atomic_file


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_no_directory(tmp_path):
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "model") as temporary:
        (temporary / "config.json").write_text("{}")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_replaced_only_if_asked_and_other_things_never(tmp_path):
    model, thesis = tmp_path / "model", tmp_path / "thesis"
    with atomic_directory(model) as temporary:
        (temporary / "config.json").write_text("1")
    with pytest.raises(dissect.DissectError, match="not empty"), atomic_directory(model):
        pass
    with atomic_directory(model, overwrite=True) as temporary:
        (temporary / "config.json").write_text("2")
    assert (model / "config.json").read_text() == "2"
    thesis.mkdir()
    (thesis / "thesis.tex").write_text("years of work")
    with pytest.raises(dissect.DissectError, match="not overwritten"), atomic_directory(thesis, overwrite=True):
        pass
    assert (thesis / "thesis.tex").read_text() == "years of work"


def test_the_model_that_is_trained_is_not_overwritten(tiny_pair, facts):
    directory = tiny_pair("llama")[0]
    model = dissect.load(directory, progress=False)
    with pytest.raises(dissect.DissectError, match="which would be lost"):
        dissect.unlearn(model, forget=facts, out=directory, overwrite=True, progress=False)


def test_an_existing_sweep_is_replaced_only_if_asked(tiny_pair, facts, tmp_path):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts, out = facts.prompts(pair.tokenizer), tmp_path / "sweep.nc"
    dissect.patch(pair, prompts, ["attn_out"], out=out, progress=False)
    with pytest.raises(dissect.DissectError, match="exists: choose another name"):
        dissect.patch(pair, prompts, ["mlp_post"], out=out, progress=False)
    dissect.patch(pair, prompts, ["mlp_post"], out=out, overwrite=True, progress=False)
    assert dissect.SweepResult.load(out).data["component"].values.tolist() == ["mlp_post"]
