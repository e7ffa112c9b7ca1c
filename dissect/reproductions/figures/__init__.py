"""The papers' figures by name: `reproduce` makes one, on the embedded world or on checkpoints that a config names.

Each is a file of this package with its ``SETTINGS``, what differs on the ``WORLD`` and in ``QUICK`` trials, by the name
of the figure, and a function ``make``.
"""

from dissect.reproductions.figures.catalogue import FIGURES as FIGURES
from dissect.reproductions.figures.catalogue import Figure as Figure
from dissect.reproductions.figures.making import Reproduced as Reproduced
from dissect.reproductions.figures.making import reproduce as reproduce
