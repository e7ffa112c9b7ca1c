"""Figures show the numbers of the result, say what is not seen, and can be written without a network."""

import json

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
import xarray as xr

import dissect
from dissect import plots
from dissect.errors import DissectError
from dissect.measures.representation.drift_map import Drift
from dissect.plots import labels, style
from dissect.sweep.grid import windows
from dissect.sweep.results.sweep_result import SweepResult
from tests.support.results import make_result

FOUR = ("mlp_post", "attn_out", "mlp_post+attn_out", "mlp.W_out")


def made_up(components=FOUR, *, n_layers=6, n_prompts=8, window=3, layers=None, seed=0) -> SweepResult:
    """A sweep whose recoveries are random numbers around 0.3, with one prompt on which the models agree."""
    rng = np.random.default_rng(seed)
    layers = list(range(n_layers)) if layers is None else layers
    recipient = rng.uniform(1, 3, n_prompts)
    recipient[1] = 0.0
    recovery = 0.3 + rng.normal(0, 0.3, (len(components), len(layers), n_prompts))
    members = [[",".join(map(str, m)) for _, m in windows(layers, window, n_layers)] for _ in components]
    spec = {"kind": "activations", "window": window, "donor": "base", "recipient": "unlearned"}
    return SweepResult(
        xr.Dataset(
            {
                "members": (("component", "layer"), np.array(members)),
                "krs": (("component", "layer", "prompt"), recipient * (1 - recovery)),
                "krs_recipient": ("prompt", recipient),
                "krs_donor": ("prompt", np.zeros(n_prompts)),
            },
            coords={
                "component": list(components),
                "layer": layers,
                "prompt": np.arange(n_prompts),
                "prompt_text": (
                    "prompt",
                    [f"Question: Where was <b>Ann{i}</b> born?\nAnswer:" for i in range(n_prompts)],
                ),
            },
            attrs={
                "format": "dissect-sweep-1",
                "spec": json.dumps(spec | {"base_path": "runs/base", "unlearned_path": "runs/<ga>"}),
                "metrics": json.dumps(
                    {"krs": {"label": "mean squared logit difference", "unit": "", "better": "lower"}}
                ),
                "prompts": "x",
            },
        )
    )


def lines(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}


def caption(figure: go.Figure) -> str:
    (found,) = [note.text for note in figure.layout.annotations if note.name == "caption"]
    return found.replace("<br>", " ")


def test_curves_are_the_means_and_bands_the_intervals():
    result = made_up()
    figure = plots.curves(result, level=0.9, seed=3)
    table = result.ci("krs", level=0.9, seed=3)
    drawn = lines(figure)
    assert list(drawn) == [labels.component(name) for name in FOUR]
    for name in FOUR:
        np.testing.assert_allclose(drawn[labels.component(name)].y, table["mean"].sel(component=name))
        band = next(t for t in figure.data if t.fill == "toself" and t.name == labels.component(name))
        expected = [*table["high"].sel(component=name).values, *table["low"].sel(component=name).values[::-1]]
        np.testing.assert_allclose(band.y, expected)
    assert "Mean over 7 prompts with a 90% bootstrap interval" in caption(figure)
    assert "1 prompt with nothing to recover left out" in caption(figure)


def test_curves_can_be_pooled_and_then_have_no_band():
    result = made_up()
    figure = plots.curves(result, pooled=True)
    np.testing.assert_allclose(lines(figure)["m + A"].y, result.pooled().sel(component="mlp_post+attn_out"))
    assert not [trace for trace in figure.data if trace.fill == "toself"]


def test_curves_tell_cut_windows_apart_and_name_the_layers_swapped():
    figure = plots.curves(made_up(window=3))
    name = labels.component("mlp_post")
    open_markers = [t for t in figure.data if t.name == name and t.mode == "markers"]
    assert [list(t.x) for t in open_markers] == [[0, 5]]
    assert "swapped: 0, 1<br>" in lines(figure)[name].text[0]
    assert "swapped: 1, 2, 3<br>" in lines(figure)[name].text[2]
    assert "Open markers" in caption(figure)
    assert "Open markers" not in caption(plots.curves(made_up(window=1)))


def test_components_differ_by_colour_and_by_dash_and_by_marker():
    drawn = list(lines(plots.curves(made_up())).values())
    for ways in ([t.line.color for t in drawn], [t.line.dash for t in drawn], [t.marker.symbol for t in drawn]):
        assert len(set(ways)) == len(drawn)


def test_no_two_controls_look_alike():
    kinds = ["identity", "shuffled", "random", "single layers", "noise", "retrained", "window 3", "mine", "theirs"]
    names = ["mlp_post", *(f"mlp_post ({kind})" for kind in kinds), "attn_out", "attn_out (noise)"]
    drawn = lines(plots.curves(made_up(names)))
    of = {t: (drawn[t].line.color, drawn[t].line.dash, drawn[t].marker.symbol) for t in drawn}
    assert len(set(of.values())) == len(names)
    noise = [look[1:] for name, look in of.items() if name.endswith("(noise)")]
    assert len(set(noise)) == 1, "a kind of control looks the same for every component"


def test_curves_that_add_up_layers_have_no_cut_windows():
    rows = {"krs": [[2.0, 1.0], [0.0, 0.0], [1.5, 0.8], [1.0, 0.5], [0.5, 0.1]]}
    result = make_result(rows, layers=[0, 1, 2], window=1)
    result.data["members"][:] = [["0", "0,1", "0,1,2"]]
    result.data.attrs["spec"] = json.dumps(result.spec | {"window": None, "scope": "from_first"})
    figure = plots.curves(result)
    assert not [t for t in figure.data if t.mode == "markers"] and "Open markers" not in caption(figure)
    assert "each layer with all before it" in figure.layout.title.text
    assert figure.layout.xaxis.title.text == "layer"


def test_curves_over_another_dimension():
    result = made_up(("mlp_post",))
    wider = SweepResult(result.data.assign(krs=result.data["krs"].expand_dims(t=[0.0, 0.5, 1.0], axis=2)))
    figure = plots.curves(wider, x="t", layer=3)
    line = next(t for t in figure.data if t.mode == "lines+markers")
    assert list(line.x) == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(line.y, [result.ci()["mean"].sel(layer=3).item()] * 3)
    assert figure.layout.xaxis.title.text == "t (0: recipient, 1: donor)"
    assert "layer 3, t 0.5, swapped" in line.text[1]
    with pytest.raises(DissectError, match="no dimension 'head' for an axis: it runs over layer, t"):
        plots.curves(wider, x="head")
    with pytest.raises(DissectError, match="no layer 9 in the result"):
        plots.curves(wider, x="t", layer=9)


def test_curves_far_below_are_cut_counted_and_marked():
    result = made_up()
    result.data["krs"][1, 2:4] *= 50
    figure = plots.curves(result)
    lowest = float(result.ci()["mean"].min())
    assert figure.layout.yaxis.range[0] == -1
    assert f"2 points below the axis (lowest {labels.number(lowest)})" in caption(figure)
    (arrows,) = [trace for trace in figure.data if trace.marker.symbol == "triangle-down" and "outside" in trace.name]
    assert list(arrows.x) == [2, 3]
    shown = plots.curves(result, y_range=(2 * lowest, 1.1))
    assert "below the axis" not in caption(shown)
    with pytest.raises(DissectError, match=r"y_range=\(1.0, 0.0\)"):
        plots.curves(result, y_range=(1.0, 0.0))


def test_curves_hold_both_models_lines_whatever_the_values():
    low, high = plots.curves(made_up()).layout.yaxis.range
    assert low < 0 and high > 1


def test_a_component_without_some_layers_is_drawn_where_it_is():
    result = made_up(("mlp_post", "attn_out"))
    result.data["krs"][1, 3:] = np.nan
    drawn = lines(plots.curves(result))
    assert list(drawn[labels.component("attn_out")].x) == [0, 1, 2]
    assert list(drawn[labels.component("mlp_post")].x) == [0, 1, 2, 3, 4, 5]
    assert "1 prompt with nothing to recover" in caption(plots.curves(result))
    assert "up to 1 undefined left out. Grey: 3 cells without a value." in caption(plots.heatmap(result))


def test_curves_over_sets_of_layers_use_their_names():
    result = made_up(("mlp_post",), layers=[0, 1, 2])
    named = SweepResult(result.data.assign_coords(layer=["0,1", "2,3", "4,5"]))
    (trace,) = lines(plots.curves(named)).values()
    assert list(trace.x) == ["0,1", "2,3", "4,5"]
    assert plots.curves(named).layout.xaxis.type == "category"


def test_curves_have_no_place_for_further_dimensions():
    result = made_up(("mlp_post",))
    heads = result.data[["krs"]].expand_dims(head=3).transpose("component", "layer", "head", "prompt")
    wider = SweepResult(result.data.assign(krs=heads["krs"]))
    with pytest.raises(DissectError, match=r"also runs over head: .*--at head=.*--x head --y layer"):
        plots.curves(wider)
    figure = plots.heatmap(wider, x="head", y="layer")
    np.testing.assert_allclose(figure.data[0].z, wider.recovery().mean("prompt")[0])
    assert list(figure.data[0].x) == ["0", "1", "2"]


def test_a_single_layer_has_error_bars():
    result = made_up(layers=[2])
    (trace, *_) = lines(plots.curves(result)).values()
    table = result.ci()
    assert trace.error_y.array[0] == pytest.approx(float((table["high"] - table["mean"])[0, 0]))


def test_nothing_to_recover_is_an_error():
    result = made_up()
    result.data["krs_recipient"][:] = 0
    with pytest.raises(DissectError, match="donor and recipient agree"):
        plots.curves(result)
    with pytest.raises(DissectError, match="undefined everywhere"):
        plots.heatmap(result)


def test_unknown_metric():
    with pytest.raises(DissectError, match="did not measure 'kl': it has krs"):
        plots.curves(made_up(), "kl")


def test_no_global_template_is_set():
    before = plotly.io.templates.default
    figure = plots.curves(made_up())
    assert plotly.io.templates.default == before
    assert figure.layout.template.layout.font.family == style.template().layout.font.family


def test_text_of_users_cannot_become_markup():
    figure = plots.heatmap(made_up(("mlp_post",)), y="prompt")
    assert "<b>" not in "".join(figure.data[0].y)
    assert "runs/<ga>" not in figure.layout.title.text and "&lt;ga&gt;" in figure.layout.title.text


def test_heatmap_is_the_mean_over_the_other_dimensions():
    result = made_up()
    figure = plots.heatmap(result)
    np.testing.assert_allclose(figure.data[0].z, result.recovery().mean("prompt"))
    assert list(figure.data[0].y) == [labels.component(name) for name in FOUR]
    assert list(figure.data[0].x) == ["0", "1", "2", "3", "4", "5"]
    assert "Mean over 8 prompts, up to 1 undefined left out." in caption(figure)
    assert "swapped: 0,1" in figure.data[0].text[0][0]
    np.testing.assert_allclose(plots.heatmap(result, x="component").data[0].z, result.recovery().mean("prompt").T)


def test_heatmap_colours_are_symmetric_around_zero():
    result = made_up()
    result.data["krs"][1, 2] *= 50
    figure = plots.heatmap(result)
    axis = figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-1, 1)
    assert axis.colorscale[len(axis.colorscale) // 2] == (0.5, "#f7f7f7")
    assert "1 cell below" in caption(figure)
    assert plots.heatmap(result, limit=0.5).layout.coloraxis.cmin == -0.5
    with pytest.raises(DissectError, match="limit=0"):
        plots.heatmap(result, limit=0.0)


def test_faint_heatmaps_scale_to_what_there_is_and_say_so():
    rows = {"krs": [[2.0], [0.0], [1.97], [2.006], [1.92]]}
    faint = plots.heatmap(make_result(rows, layers=[0, 1, 2], window=1))
    axis = faint.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-0.05, 0.05)
    assert axis.colorbar.title.text.endswith("colours end at ±0.05")
    assert faint.data[0].texttemplate == "%{z:.2g}"
    strong = plots.heatmap(made_up()).layout.coloraxis
    assert strong.cmax == 1 and "colours end" not in strong.colorbar.title.text
    nothing = make_result({"krs": [[2.0], [0.0], [2.0], [2.0], [2.0]]}, layers=[0, 1, 2], window=1)
    assert plots.heatmap(nothing).layout.coloraxis.cmax == 1


def test_the_last_panel_of_every_column_names_its_axis():
    names = [f"c{place}" for place in range(8)]
    figure = plots.heatmap(made_up(names), y="prompt")
    titled = [figure.layout[f"xaxis{place or ''}"].title.text for place in ("", *range(2, 9))]
    assert titled == [None] * 5 + ["centre layer of the window"] * 3
    shown = [figure.layout[f"xaxis{place}"].showticklabels for place in (6, 7, 8)]
    assert shown == [True] * 3


def test_estimates_are_called_so():
    result = made_up(("mlp_post",))

    def titled(kind) -> str:
        result.data.attrs["spec"] = json.dumps(result.spec | {"kind": kind})
        return plots.curves(result).layout.title.text

    assert titled("attribution").startswith("First-order estimate: activations of the base model put into the")
    assert ", in part estimated to first order<br>" in titled(["activations", "attribution"])


def test_components_off_the_axes_get_panels_and_are_never_averaged():
    result = made_up()
    figure = plots.heatmap(result, y="prompt")
    assert len(figure.data) == 4
    for place, name in enumerate(FOUR):
        np.testing.assert_allclose(figure.data[place].z, result.recovery().sel(component=name).T)
    assert "Grey: 24 cells without a value" in caption(figure)
    one = plots.heatmap(result, y="prompt", component="attn_out", prompt=[0, 3], layer=range(2, 4))
    assert len(one.data) == 1
    np.testing.assert_allclose(
        one.data[0].z, result.recovery().sel(component="attn_out", prompt=[0, 3], layer=[2, 3]).T
    )
    assert list(one.data[0].y) == ["0: &lt;b&gt;Ann0&lt;/b&gt;", "3: &lt;b&gt;Ann3&lt;/b&gt;"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"x": "position"}, "no dimension 'position': it has component, layer, prompt"),
        ({"y": "head"}, "no dimension 'head'"),
        ({"x": "layer", "y": "layer"}, "x and y are both 'layer'"),
        ({"component": "mlp"}, "no component 'mlp' in the result: it has mlp_post"),
        ({"layer": [0, 9]}, "no layer 9 in the result: it has 0, 1"),
        ({"head": 3}, "no dimension 'head' to select in"),
    ],
)
def test_heatmap_errors_name_what_there_is(wrong, says):
    with pytest.raises(DissectError, match=says):
        plots.heatmap(made_up(), **wrong)


def test_heatmap_of_drift():
    norm = np.array([[0.1, 0.2, 0.0], [0.3, np.nan, 0.4]])
    drift = xr.Dataset(
        {"relative_norm": (("block", "layer"), norm), "cosine": (("block", "layer"), 1 - norm / 10)},
        coords={"block": ["mlp.W_out", "attn.W_Q"], "layer": [0, 1, 2]},
    )
    figure = plots.heatmap(drift)
    np.testing.assert_allclose(figure.data[0].z, norm)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 0.4)
    np.testing.assert_allclose(plots.heatmap(drift, "cosine").data[0].z, norm / 10, atol=1e-12)
    assert figure.data[0].texttemplate == "%{z:.1%}"
    outside = xr.Dataset({"relative_norm": ("block", [0.021, np.nan])}, coords={"block": ["ln_final", "embed"]})
    assert "Outside the layers: final norm 2.1%." in caption(plots.heatmap(Drift(drift, outside)))
    assert plots.heatmap(drift * 0).layout.coloraxis.cmax == 1
    with pytest.raises(DissectError, match="no variable 'krs': it has relative_norm, cosine"):
        plots.heatmap(drift, "krs")


def test_dissect_plots_is_public():
    assert dissect.plots.curves is plots.curves


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("mlp_post", "coefficients m (mlp_post)"),
        ("attn_out", "attention A (attn_out)"),
        ("mlp_post+attn_out", "m + A"),
        ("mlp.W_out", "value vectors W_V (mlp.W_out)"),
        ("attn.W_V", "attn.W_V"),
        ("mlp_post (random)", "coefficients m (mlp_post) (random noise)"),
        ("mlp_post+attn_out (random)", "m + A (random noise)"),
        ("mlp.W_out (random)", "value vectors W_V (mlp.W_out) (random layers)"),
        ("attn.W_Q+mlp_post (random)", "attn.W_Q+mlp_post (random layers)"),
        ("mine (random)", "mine (random)"),
        ("all but mlp (random)", "all but whole MLP (mlp) (random layers)"),
        ("mlp (noise)", "whole MLP (mlp) (noise)"),
        ("ln_final", "final norm (ln_final)"),
        ("mlp_post window <1>", "mlp_post window &lt;1&gt;"),
    ],
)
def test_labels(name, label):
    assert labels.component(name) == label


def test_figures_know_every_site_and_block_by_its_kind():
    """The figures' own lists, which need no model, are those of the sweeps."""
    from dissect.models.block_names import LAYER_BLOCKS
    from dissect.patching.sites import SITES
    from dissect.plots import labels

    assert set(SITES) == labels._ACTIVATIONS
    assert {block.split(".")[0] for block in LAYER_BLOCKS} == set(labels._BLOCKS)


def test_positions_of_one_prompt_are_its_tokens():
    from dissect.plots.ticks import ticks

    tokens = np.array([["<s>", ""], ["\u2581born", "x"], ["\n", "?"], ["<b>", "y"]])
    values = np.arange(4.0)[:, None, None] * np.ones((4, 1, 2))
    data = xr.Dataset(
        {"token": (("position", "prompt"), tokens), "v": (("position", "layer", "prompt"), values)},
        coords={"position": [-3, -2, -1, 0], "layer": [0], "prompt": [0, 1]},
    )
    one = data.sel(prompt=[0])
    assert ticks(one, one["position"]) == ["&lt;s&gt; (-3)", "born (-2)", "\\n (-1)", "<b>&lt;b&gt; (0)</b>"]
    assert ticks(data, data["position"]) == ["-3", "-2", "-1", "0"]
    drawn = dissect.plots.heatmap(data, "v", x="position", y="layer", prompt=1)
    assert list(drawn.data[0].x) == ["x (-2)", "? (-1)", "<b>y (0)</b>"]


def test_a_legend_has_room_in_the_narrowest_figure_whatever_the_font():
    """Widths that Chromium measured for DejaVu Sans at 12 pixels, the widest font of a bare machine."""
    measured = {
        "coefficients m (mlp_post)": 152.0,
        "coefficients m (mlp_post) (shuffled)": 213.3,
        "coefficients m (mlp_post) (retain)": 200.3,
        "coefficients m (mlp_post) (random noise)": 247.5,
        "coefficients m (mlp_post) (single layers)": 240.9,
    }
    rows, used = 1, 0.0
    for width in measured.values():
        rows, used = (rows + 1, width + 45) if used + width + 45 > 512 else (rows, used + width + 45)
    assert 29 * rows <= style.legend_height(measured, beside=160) <= 29 * len(measured)
    assert style.legend_height(["m + A"], beside=160) == 29 and style.legend_height([], beside=160) == 0
