"""Writing leaves nothing half done behind, and destroys nothing that was not asked for."""

from pathlib import Path

import pytest
import xarray as xr

import dissect
from dissect import files, netcdf
from dissect.change_places import exchange
from dissect.files import atomic_directory, atomic_file, discard
from dissect.temporary import clear_leftovers, temporary_beside
from tests.support.killed import killed_before_each


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


def contents(directory):
    return {path.relative_to(directory).as_posix(): path.read_text() for path in directory.rglob("*") if path.is_file()}


def write_model(path, version, **options):
    """A checkpoint of two files, so that half of one can be told from a whole one."""
    with atomic_directory(path, **options) as temporary:
        for name in ("config.json", "weights"):
            (temporary / name).write_text(version)


def version_of(path):
    versions = {(path / name).read_text() for name in ("config.json", "weights")}
    assert len(versions) == 1, f"{path} is of several versions"
    return versions.pop()


@pytest.mark.parametrize("swapped", [True, False])
@pytest.mark.parametrize("linked", [True, False])
def test_killed_before_any_operation_an_old_or_a_new_directory_is_there(tmp_path, monkeypatch, swapped, linked):
    """And what the killed one left is cleared by the next. Without exchange the name is empty for one operation."""
    write_model(tmp_path / "model", "old")
    model = tmp_path / ("link" if linked else "model")
    if linked:
        model.symlink_to("model")
    if not swapped:
        monkeypatch.setattr(files, "exchange", lambda first, second: False)
    names, missing = sorted(path.name for path in tmp_path.iterdir()), 0
    for made in killed_before_each(lambda: write_model(model, "new", overwrite=True)):
        if model.exists():
            assert version_of(model) in ("old", "new"), made
        else:
            missing += 1
        write_model(model, "old", overwrite=True)
        assert version_of(model) == "old" and sorted(path.name for path in tmp_path.iterdir()) == names, made
    assert version_of(model) == "new" and sorted(path.name for path in tmp_path.iterdir()) == names
    assert missing == 0 if swapped and exchange_works(tmp_path) else missing <= 1


def test_where_names_cannot_change_places_a_killed_old_version_comes_back(tmp_path, monkeypatch):
    """Whoever writes next finds the old version under its name, and may not replace it unasked."""
    monkeypatch.setattr(files, "exchange", lambda first, second: False)
    model, refused = tmp_path / "model", 0
    write_model(model, "old")
    for _ in killed_before_each(lambda: write_model(model, "new", overwrite=True)):
        if not model.exists():
            with pytest.raises(dissect.DissectError, match="not empty"):
                write_model(model, "third")
            refused += 1
            assert version_of(model) == "old"
        write_model(model, "old", overwrite=True)
    assert refused == 1


@pytest.mark.parametrize("name", ["sweep.nc", ".hidden", "no suffix", "a[b]*?.json", "weights.tar.gz"])
def test_killed_before_any_operation_an_old_or_a_new_file_is_there(tmp_path, name):
    path = tmp_path / name

    def write(text):
        with atomic_file(path) as temporary:
            assert temporary.suffix == path.suffix or not path.suffix
            temporary.write_text(text)

    write("old")
    for made in killed_before_each(lambda: write("new")):
        assert path.read_text() in ("old", "new"), made
        write("old")
        assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path], made


def test_a_killed_sweep_file_leaves_nothing(tmp_path):
    path, data = tmp_path / "sweep.nc", xr.Dataset({"a": ("x", [1.0, 2.0])}, attrs={"format": "dissect-x-1"})
    netcdf.save(data, path)
    for made in killed_before_each(lambda: netcdf.save(data + 1, path)):
        assert float(netcdf.load(path, "dissect-x-1", "a test")["a"][0]) in (1.0, 2.0), made
        netcdf.save(data, path)
        assert list(tmp_path.iterdir()) == [path], made
        if made > 40:  # reading and writing take some hundred operations of the library's own, all alike
            break


def test_a_directory_that_is_given_up_is_whole_or_gone(tmp_path):
    path = tmp_path / "run.partial"

    def make():
        (path / "parts").mkdir(parents=True)
        (path / "parts" / "one").write_text("1")
        (path / "run.json").write_text("{}")

    make()
    whole = contents(path)
    for made in killed_before_each(lambda: discard(path)):
        if path.exists():
            assert contents(path) == whole, made
            discard(path)
        clear_leftovers(path)
        assert list(tmp_path.iterdir()) == [], made
        make()


def test_what_is_not_a_leftover_stays(tmp_path):
    """Files with names like those of leftovers, and those of a process that is at work."""
    kept = [".model-settings", ".model~dissect-short", ".model~dissect-notes.txt", ".other~dissect-abcdefgh"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".model~dissect-linklink").symlink_to(tmp_path / kept[0])
    with temporary_beside(tmp_path / "model", directory=True) as at_work:
        before = sorted(path.name for path in tmp_path.iterdir())
        clear_leftovers(tmp_path / "model")
        assert sorted(path.name for path in tmp_path.iterdir()) == before and at_work.is_dir()
    left = tmp_path / ".model~dissect-abcd_123"
    left.write_text("half")
    clear_leftovers(tmp_path / "model")
    assert not left.exists() and all((tmp_path / name).exists() for name in kept)


def test_nothing_that_came_meanwhile_is_replaced(tmp_path):
    """Hours may pass between the first check and the end: another process may have written there."""
    model = tmp_path / "model"
    with pytest.raises(dissect.DissectError, match="not empty"), atomic_directory(model) as temporary:
        (temporary / "config.json").write_text("slow")
        write_model(model, "quick")
    assert version_of(model) == "quick" and list(tmp_path.iterdir()) == [model]


def test_other_checkpoints_in_a_directory_are_not_lost_with_it(tmp_path):
    write_model(tmp_path / "model", "old")
    write_model(tmp_path / "model/checkpoint-500", "of another run")
    with pytest.raises(dissect.DissectError, match="holds checkpoint-500/ beside a checkpoint"):
        write_model(tmp_path / "model", "new", overwrite=True)
    assert version_of(tmp_path / "model/checkpoint-500") == "of another run"


@pytest.mark.parametrize("make", [atomic_file, atomic_directory])
def test_a_full_disk_is_named(tmp_path, make):
    """`/dev/full` has no room for anything, and its error names no file."""
    path = tmp_path / "model"
    with pytest.raises(OSError, match="No space left on device") as raised, make(path):
        Path("/dev/full").write_text("x")
    assert raised.value.filename == str(path) and list(tmp_path.iterdir()) == []


def exchange_works(place):
    for name in "ab":
        (place / name).mkdir()
        (place / name / "in").write_text(name)
    works = exchange(place / "a", place / "b")
    for name in "ab":
        (place / name / "in").unlink()
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
