"""What a sweep's result computes, stores and refuses; by hand-made numbers."""

import numpy as np
import pytest

import dissect
from dissect.metrics import metric as metrics_by_name
from dissect.sweep.grid import windows
from dissect.sweep.results.sweep_result import SweepResult
from tests.support.results import make_result


def test_recovery_by_hand():
    result = make_result({"krs": [[4.0, 2.0], [0.0, 0.0], [1.0, 3.0]]}, layers=[0])
    assert result.recovery("krs").dims == ("component", "layer", "prompt")
    assert result.recovery("krs").values.ravel().tolist() == [0.75, -0.5]
    assert float(result.pooled("krs").item()) == pytest.approx(1 - 4 / 6)


def test_recovery_of_a_score_has_the_same_direction():
    result = make_result({"logprob": [[-8.0], [-2.0], [-5.0]]}, layers=[0])
    assert result.recovery("logprob").item() == pytest.approx(0.5)


def test_what_did_not_change_is_counted_and_left_out():
    result = make_result({"krs": [[4.0, 0.0, 2.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]}, layers=[0])
    table = result.ci("krs")
    assert np.isnan(result.recovery("krs").values[0, 0, 1])
    assert float(table["mean"].item()) == pytest.approx((0.75 + 0.5) / 2)
    assert int(table["n"].item()) == 2
    assert int(table["n_undefined"].item()) == 1


def test_the_interval_is_scipys_percentile_bootstrap():
    rng = np.random.default_rng(3)
    patched = rng.uniform(0, 1, 40)
    result = make_result({"krs": [np.ones(40), np.zeros(40), patched]}, layers=[0])
    table = result.ci("krs", seed=5)
    draws = np.random.default_rng(0).choice(1 - patched, size=(20000, 40)).mean(1)
    assert float(table["low"].item()) == pytest.approx(np.quantile(draws, 0.025), abs=0.01)
    assert float(table["high"].item()) == pytest.approx(np.quantile(draws, 0.975), abs=0.01)
    assert result.ci("krs", seed=5).identical(table)


def test_one_prompt_has_no_interval():
    table = make_result({"krs": [[4.0], [0.0], [1.0]]}, layers=[0]).ci("krs")
    assert np.isnan(table["low"].item()) and float(table["mean"].item()) == 0.75


def test_saved_and_loaded_is_the_same(tmp_path):
    result = make_result({"krs": [[4.0, 2.0], [0.0, 0.0], [1.0, np.nan], [2.0, 1.0]]}, layers=[0, 1])
    result.save(tmp_path / "sweep.nc")
    assert SweepResult.load(tmp_path / "sweep.nc").data.identical(result.data)
    assert list(tmp_path.iterdir()) == [tmp_path / "sweep.nc"]


@pytest.mark.parametrize("content", [b"", b"not netCDF at all"])
def test_loading_something_else_is_refused(content, tmp_path):
    (tmp_path / "sweep.nc").write_bytes(content)
    with pytest.raises(dissect.DissectError, match="cannot be read as netCDF"):
        SweepResult.load(tmp_path / "sweep.nc")
    with pytest.raises(dissect.DissectError, match="no file"):
        SweepResult.load(tmp_path / "other.nc")


def test_a_damaged_sweep_file_is_refused(tmp_path):
    make_result({"krs": [[4.0], [0.0], [1.0]]}, layers=[0]).save(tmp_path / "sweep.nc")
    whole = (tmp_path / "sweep.nc").read_bytes()
    (tmp_path / "sweep.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(dissect.DissectError, match="cannot be read"):
        SweepResult.load(tmp_path / "sweep.nc")


def test_concat_joins_components_and_keeps_every_number():
    rows = {"krs": [[4.0, 2.0], [0.0, 0.0], [1.0, 1.0], [3.0, 2.0]]}
    first = make_result(rows, layers=[0, 1], component="mlp_post")
    second = make_result(rows, layers=[0, 1], component="mlp.W_out", window=1)
    both = dissect.concat(first, second)
    assert both.data["component"].values.tolist() == ["mlp_post", "mlp.W_out"]
    for part in (first, second):
        label = str(part.data["component"].values[0])
        assert both.recovery().sel(component=[label]).identical(part.recovery())
    assert both.spec["window"] == [5, 1]


def test_concat_of_other_layers_leaves_holes_not_zeros():
    first = make_result({"krs": [[4.0], [0.0], [1.0]]}, layers=[0], component="mlp_post")
    second = make_result({"krs": [[4.0], [0.0], [2.0]]}, layers=[1], component="attn_out")
    both = dissect.concat(first, second)
    assert np.isnan(both.recovery().sel(component="mlp_post", layer=1)).all()
    assert both.recovery().sel(component="attn_out", layer=1).item() == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompts": 8}, "different prompts"),
        ({"donor": "retrained"}, "differ in donor"),
        ({"component": "mlp_post"}, "two sweeps have a component"),
    ],
)
def test_concat_refuses_what_does_not_fit(change, said):
    rows = {"krs": [[4.0], [0.0], [1.0]]}
    first = make_result(rows, layers=[0], component="mlp_post")
    second = make_result(rows, layers=[0], **({"component": "attn_out"} | change))
    with pytest.raises(dissect.DissectError, match=said):
        dissect.concat(first, second)


def test_rename_lets_two_windows_stand_side_by_side():
    rows = {"krs": [[4.0], [0.0], [1.0]]}
    wide, narrow = make_result(rows, layers=[0], window=5), make_result(rows, layers=[0], window=1)
    both = dissect.concat(wide, narrow.rename({"mlp_post": "mlp_post, window 1"}))
    assert both.data["component"].values.tolist() == ["mlp_post", "mlp_post, window 1"]
    with pytest.raises(dissect.DissectError, match="no component 'm'"):
        wide.rename({"m": "x"})


def test_a_dataframe_has_a_row_for_every_cell_and_prompt():
    result = make_result({"krs": [[4.0, 2.0], [0.0, 0.0], [1.0, 3.0], [2.0, 2.0]]}, layers=[0, 1])
    frame = result.to_dataframe("krs")
    assert len(frame) == 4
    row = frame[(frame["layer"] == 0) & (frame["prompt"] == 1)].iloc[0]
    assert (row["value"], row["recipient"], row["donor"], row["recovery"]) == (3.0, 2.0, 0.0, -0.5)


def test_the_notebook_table_escapes_what_it_shows():
    result = make_result({"krs": [[4.0], [0.0], [1.0]]}, layers=[0], component="<script>")
    assert "<script>" not in result._repr_html_()
    assert "0.750" in result._repr_html_()


def test_a_metric_that_was_not_measured_is_refused():
    result = make_result({"krs": [[4.0], [0.0], [1.0]]}, layers=[0])
    with pytest.raises(dissect.DissectError, match="did not measure 'kl'"):
        result.recovery("kl")


def test_windows_are_cut_off_at_the_ends():
    assert [members for _, members in windows(None, 5, 6)] == [
        (0, 1, 2),
        (0, 1, 2, 3),
        (0, 1, 2, 3, 4),
        (1, 2, 3, 4, 5),
        (2, 3, 4, 5),
        (3, 4, 5),
    ]


def test_every_metric_is_found_by_the_name_of_its_file():
    assert {"krs", "kl", "logprob"} <= set(metrics_by_name.available())
    assert all(metrics_by_name.get(name).name == name for name in metrics_by_name.available())


def test_two_sweeps_are_compared_prompt_by_prompt():
    first = make_result({"krs": [[4.0, 2.0], [0.0, 0.0], [1.0, 1.0], [3.0, 2.0]]}, layers=[0, 1])
    second = make_result({"krs": [[4.0, 4.0], [0.0, 0.0], [2.0, 1.0]]}, layers=[0])
    table = dissect.compare(first, second)
    assert table["layer"].values.tolist() == [0]
    assert float(table["mean"].item()) == pytest.approx(((0.75 - 0.5) + (0.5 - 0.75)) / 2)
    assert int(table["n"].item()) == 2
    same = dissect.compare(first, first)
    assert (same["mean"].values == 0).all() and (same["low"].values == 0).all()


def test_sweeps_that_share_nothing_are_not_compared():
    rows = {"krs": [[4.0], [0.0], [1.0]]}
    first = make_result(rows, layers=[0])
    for other, said in (
        (make_result(rows, layers=[0], prompts=8), "different prompts"),
        (make_result(rows, layers=[0], component="attn_out"), "no component in common"),
    ):
        with pytest.raises(dissect.DissectError, match=said):
            dissect.compare(first, other)
