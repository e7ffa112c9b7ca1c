"""Writing leaves nothing half done behind, and destroys nothing that was not asked for."""

import pytest

import dissect
from dissect import files
from dissect.change_places import exchange
from dissect.files import atomic_directory, atomic_file, clear_leftovers


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


class Killed(BaseException):
    pass


@pytest.mark.parametrize("swapped", [True, False])
@pytest.mark.parametrize("survived", range(4))
def test_killed_between_two_steps_an_old_or_a_new_one_is_there(tmp_path, monkeypatch, swapped, survived):
    """A process that is killed leaves everything as it is: no later step is made, tidying up included."""
    model = tmp_path / "model"
    with atomic_directory(model) as temporary:
        (temporary / "config.json").write_text("old")
    steps = 0

    def deadly(step):
        def run(*arguments, **options):
            nonlocal steps
            if steps >= survived:
                raise Killed
            steps += 1
            return step(*arguments, **options)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", deadly(files.os.replace))
        patch.setattr(files.shutil, "rmtree", deadly(files.shutil.rmtree))
        patch.setattr(files, "exchange", deadly(exchange) if swapped else lambda first, second: False)
        try:
            with atomic_directory(model, overwrite=True) as temporary:
                (temporary / "config.json").write_text("new")
        except Killed:
            pass
    if swapped and exchange_works(tmp_path):
        assert (model / "config.json").read_text() in ("old", "new")
    clear_leftovers(model)
    assert (model / "config.json").read_text() in ("old", "new")
    assert list(tmp_path.iterdir()) == [model]


def exchange_works(place):
    for name in "ab":
        (place / name).mkdir()
    works = exchange(place / "a", place / "b")
    for name in "ab":
        (place / name).rmdir()
    return works


def test_what_a_link_leads_to_is_replaced(tmp_path):
    with atomic_directory(tmp_path / "model") as temporary:
        (temporary / "config.json").write_text("old")
    (tmp_path / "link").symlink_to("model")
    with atomic_directory(tmp_path / "link", overwrite=True) as temporary:
        (temporary / "config.json").write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "model/config.json").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model"]


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
