"""Figures of tables: every number of the table is drawn where it belongs, and nothing else is."""

import math

import numpy as np
import pandas as pd
import pytest

from dissect import plots
from dissect.errors import DissectError
from dissect.plots.draw_panels import log_axis


def curves() -> pd.DataFrame:
    rows = [
        {"epoch": epoch, "run": run, "panel": panel, "value": value + epoch, "low": value, "high": value + 9}
        for panel in ("one", "two")
        for run, value in (("a", 1.0), ("b", 2.0))
        for epoch in (1, 3, 10)
    ]
    return pd.DataFrame(rows)


def test_panels_draw_every_number_in_its_place():
    table = curves()
    table.loc[0, "value"] = math.inf
    fixed = pd.DataFrame({"panel": ["one", "two"], "name": ["base", "base"], "value": [5.0, math.nan]})
    figure = plots.panels(
        table, x="epoch", curve="run", panel="panel", references=fixed, log_x=True, log_y=["two"], caption="why"
    )
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    for line, (_, part) in zip(lines, table.groupby(["panel", "run"], sort=False), strict=True):
        part = part[np.isfinite(part["value"])]
        assert list(line.x) == list(part["epoch"]) and list(line.y) == list(part["value"])
        assert line.name == part["run"].iloc[0]
    assert [trace.showlegend for trace in lines] == [True, True, False, False]
    assert {line.xaxis for line in lines[:2]} == {"x"} and {line.xaxis for line in lines[2:]} == {"x2"}
    (reference,) = (trace for trace in figure.data if trace.mode == "lines+text")
    assert list(reference.y) == [5.0, 5.0] and list(reference.x) == [1, 10] and reference.xaxis == "x"
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert list(bands[1].y) == [11.0, 11.0, 11.0, 2.0, 2.0, 2.0]
    assert list(figure.layout.xaxis.ticktext) == ["1", "3", "10"]
    assert figure.layout.yaxis.type is None and figure.layout.yaxis2.type == "log"
    assert len({(line.line.color, line.line.dash, line.marker.symbol) for line in lines}) == 2


def test_a_logarithmic_axis_has_whole_numbers_at_its_ticks():
    assert log_axis(pd.Series([3.4, 42.0, math.inf]))["ticktext"] == [
        "1",
        "2",
        "5",
        "10",
        "20",
        "50",
        "100",
        "200",
        "500",
    ]
    assert log_axis(pd.Series([1e-3, 1e3]))["ticktext"] == ["0.001", "0.1", "10", "1000"]
    assert log_axis(pd.Series([2.0, 3.0])) == {"type": "log"}


def points() -> pd.DataFrame:
    values = {"x": [0.1, 0.5, 0.9, 0.4], "y": [0.9, 0.5, 0.1, math.nan]}
    table = pd.DataFrame(
        {**values, "group": ["a", "a", "a", "b"], "panel": "p", "lr": [1, 1, 2, 1], "text": list("klmn")}
    )
    for axis in ("x", "y"):
        table[f"{axis}_low"], table[f"{axis}_high"] = table[axis] - 0.1, table[axis] + 0.2
    return table


def test_points_are_joined_fitted_and_turned_round():
    fixed = pd.DataFrame({"panel": ["p"], "name": ["base"], "x": [1.0], "y": [1.0]})
    figure = plots.points(
        points(), group="group", panel="panel", line="lr", references=fixed, fit=True, reversed_y=["p"], log_x=[]
    )
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert [list(trace.x) for trace in marks] == [[0.1, 0.5, 0.9]]  # b has no number to draw
    np.testing.assert_allclose(marks[0].error_y.array, 0.2)
    np.testing.assert_allclose(marks[0].error_x.arrayminus, 0.1)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [list(trace.x) for trace in lines[:2]] == [[0.1, 0.5], [0.9]]  # by learning rate
    np.testing.assert_allclose(lines[2].y, [0.9, 0.1], atol=1e-12)  # y = 1 - x
    assert figure.layout.yaxis.autorange == "reversed"
    assert [list(trace.text) for trace in figure.data if trace.mode == "markers+text"] == [["base"]]


def test_intervals_stand_on_the_line_of_their_label():
    table = pd.DataFrame(
        {
            "label": ["a", "b", "a"],
            "group": ["g", "g", "h"],
            "value": [0.2, 0.4, 0.6],
            "low": [0.1, math.nan, 0.5],
            "high": [0.5, math.nan, 0.7],
        }
    )
    figure = plots.intervals(table, label="label", group="group", x_range=(0.0, 1.0))
    first, second = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["a", "b"]
    assert list(first.x) == [0.2, 0.4] and [round(y) for y in first.y] == [0, 1] and [round(y) for y in second.y] == [0]
    np.testing.assert_allclose(first.error_x.array, [0.3, 0])
    np.testing.assert_allclose(first.error_x.arrayminus, [0.1, 0])
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the first row is at the top
    alone = plots.intervals(table[:2], label="label")
    assert list(alone.data[0].y) == [0, 1] and alone.data[0].showlegend is False


def test_mirrored_histograms_are_shares():
    figure = plots.mirrored(np.array([0.0, 1.0, 1.0, 1.0000001]), np.array([0.5]), names=("up", "down"), bins=10)
    up, down = figure.data
    assert up.y[0] == 0.25 and up.y[-1] == 0.75 and sum(up.y) == 1
    assert min(down.y) == -1 and sum(down.y) == -1


@pytest.mark.parametrize("draw", [plots.panels, plots.points, plots.intervals])
def test_what_cannot_be_drawn_is_named(draw):
    words = {"panels": {"x": "epoch", "curve": "run", "panel": "panel"}, "points": {"group": "group", "panel": "panel"}}
    how = words.get(draw.__name__, {"label": "label"})
    with pytest.raises(DissectError, match="no column"):
        draw(pd.DataFrame({"nothing": [1]}), **how)
    columns = [*how.values(), "value", "low", "high", "x", "x_low", "x_high", "y", "y_low", "y_high", "text"]
    with pytest.raises(DissectError, match="no rows"):
        draw(pd.DataFrame({name: [] for name in columns}), **how)
