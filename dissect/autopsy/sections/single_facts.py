"""Section in which a reader picks any fact."""

from dissect.autopsy.interactive.picker_data import picker_data
from dissect.autopsy.page import Section, Widget
from dissect.autopsy.results import Results
from dissect.autopsy.sections.absent import absent


def single_facts(results: Results) -> Section:
    """The picker; without its data a sentence on why."""
    data = picker_data(results)
    if data is None:
        return Section("Fact by fact", [absent(results, "facts", "The list of facts")])
    words = (
        "Every fact, the one of which most is left first. Choose one to see what each model says, token by token and "
        "layer by layer."
    )
    return Section("Fact by fact", [words, Widget("picker", data)])
