"""Figures: results in, plotly figures out. Nothing is shown, no model is run, no global template is set.

``curves(result)`` draws recovery over layers, ``heatmap(result, x=..., y=...)`` any two dimensions of a result,
``path(found)`` the way to a smallest set of blocks, ``tradeoff(evaluation)`` forgetting against utility,
``measured(evaluation, measure)`` a measure by layer or step, ``lens(table)`` what each layer would say next,
``agreement(result)`` first-order estimates against exact patches, ``panel(verdicts)`` forced choice under each attack;
of tables, ``panels`` draws curves in small
multiples, ``points`` one number against another, ``intervals`` a line a row and ``mirrored`` two distributions back
to back. ``write(figure, path)`` puts a figure into an HTML page or an image, ``for_paper(figure)`` gives it a paper's
width and type. Every figure is an ordinary ``go.Figure``: change what you like with ``figure.update_layout(...)``;
the note under the axis is the annotation named ``caption``.
"""

from dissect.plots.draw_agreement import agreement as agreement
from dissect.plots.draw_curves import curves as curves
from dissect.plots.draw_heatmap import heatmap as heatmap
from dissect.plots.draw_intervals import intervals as intervals
from dissect.plots.draw_intervals import mirrored as mirrored
from dissect.plots.draw_lens import lens as lens
from dissect.plots.draw_measures import measured as measured
from dissect.plots.draw_panel import panel as panel
from dissect.plots.draw_panels import panels as panels
from dissect.plots.draw_path import path as path
from dissect.plots.draw_points import points as points
from dissect.plots.draw_tradeoff import tradeoff as tradeoff
from dissect.plots.export import write as write
from dissect.plots.paper import for_paper as for_paper
