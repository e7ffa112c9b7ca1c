"""What no Markdown table can say: which columns hold sentences, and that a number stays with its unit."""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

SENTENCE = 30
"""From so many characters in a cell on, its column is one of sentences."""
FITTING = 2
"""So many columns of sentences stand beside each other on a phone."""
_HELD = re.compile(r"(?<=\d) (?=(?:%|s|ms|MB|GB|GiB)(?!\w)|to -?[\d.]+\))|(?<=\d to) (?=-?[\d.]+\))")
"""The spaces in "13.1 s", "95 %" and "(0.01 to 0.10)"."""


def hold(text: str) -> str:
    """The text with the spaces between numbers and their units unbreakable."""
    return _HELD.sub("\N{NO-BREAK SPACE}", text)


class ReadableTables(SphinxPostTransform):
    """Mark columns of sentences, for the style sheet, and keep numbers together with what belongs to them."""

    default_priority = 900
    formats = ("html",)

    def run(self, **options: object) -> None:
        """Go through one page."""
        for text in list(self.document.findall(nodes.Text)):
            held = hold(str(text))
            if held != text and not isinstance(text.parent, nodes.literal | nodes.literal_block | nodes.raw):
                text.parent.replace(text, nodes.Text(held))
        for table in self.document.findall(nodes.table):
            columns = list(zip(*(row.children for row in table.findall(nodes.row)), strict=False))
            for column in columns:
                if len(columns) > FITTING and max(len(cell.astext()) for cell in column) >= SENTENCE:
                    for cell in column:
                        cell["classes"].append("sentences")
