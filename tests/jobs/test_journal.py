"""A sweep that is interrupted goes on and ends in the same bits."""

import pytest

import dissect
from dissect.sweep import runner
from dissect.sweep.results.sweep_result import SweepResult


@pytest.fixture
def swept(tiny_pair, facts):
    pair = dissect.load_pair(*tiny_pair("llama"), progress=False)
    prompts = facts.prompts(pair.tokenizer)

    def run(**options) -> SweepResult:
        return dissect.patch(pair, prompts, batch_size=2, progress=False, **options)

    return run


class Killed(BaseException):
    pass


def stop_after(monkeypatch, n_cells: int) -> list[int]:
    """Let the runner compute so many cells, then die; returns the cells that were computed."""
    computed: list[int] = []
    original = runner._Run._measured

    def counting(self, batch, group, *rest):
        if len(computed) == n_cells:
            raise Killed
        computed.append(len(group))
        return original(self, batch, group, *rest)

    monkeypatch.setattr(runner._Run, "_measured", counting)
    return computed


@pytest.mark.parametrize("n_cells", [0, 4, 13])
def test_an_interrupted_sweep_ends_in_the_same_bits(n_cells, swept, tmp_path, monkeypatch):
    whole = swept()
    out = tmp_path / "sweep.nc"
    with monkeypatch.context() as patcher, pytest.raises(Killed):
        stop_after(patcher, n_cells)
        swept(out=out)
    assert not out.exists() and (tmp_path / "sweep.nc.partial").exists()
    with monkeypatch.context() as patcher:
        rest = stop_after(patcher, 10**6)
        resumed = swept(out=out)
    assert len(rest) == 2 * 9 - n_cells
    assert resumed.data.identical(whole.data)
    assert SweepResult.load(out).data.identical(whole.data)
    assert sorted(tmp_path.iterdir()) == [out]


def test_a_line_cut_short_by_a_kill_is_done_again(swept, tmp_path, monkeypatch):
    out, partial = tmp_path / "sweep.nc", tmp_path / "sweep.nc.partial"
    with monkeypatch.context() as patcher, pytest.raises(Killed):
        stop_after(patcher, 5)
        swept(out=out)
    partial.write_bytes(partial.read_bytes()[:-7])
    assert swept(out=out).data.identical(swept().data)


def test_the_journal_of_another_sweep_is_refused(swept, tmp_path, monkeypatch):
    out = tmp_path / "sweep.nc"
    with monkeypatch.context() as patcher, pytest.raises(Killed):
        stop_after(patcher, 5)
        swept(out=out)
    with pytest.raises(dissect.DissectError, match="was begun with other models, facts"):
        swept(out=out, window=1)


def test_a_damaged_journal_is_refused_with_its_line(swept, tmp_path):
    (tmp_path / "sweep.nc.partial").write_text("nonsense\n")
    with pytest.raises(dissect.DissectError, match="damaged at line 1"):
        swept(out=tmp_path / "sweep.nc")
