"""The papers' figures by name: `reproduce` makes one, on the embedded world or on checkpoints that a config names.

Each is a file of this package with its ``SETTINGS``, what differs on the ``WORLD`` and in ``QUICK`` trials, by the name
of the figure, and a function ``make``.
"""

from dissect.reproductions.making.catalogue import FIGURES as FIGURES
from dissect.reproductions.making.catalogue import Figure as Figure
from dissect.reproductions.making.make_figure import Reproduced as Reproduced
from dissect.reproductions.making.make_figure import reproduce as reproduce
