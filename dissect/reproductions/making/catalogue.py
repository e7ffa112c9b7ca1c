"""The list of figures. Listing them imports nothing."""

from dataclasses import dataclass

from dissect.errors import DissectError, near_miss


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure or table of a paper."""

    name: str
    about: str
    """One line."""
    source: str
    """Paper and figure, and a note where it is a reconstruction."""
    module: str
    """Module of ``dissect.reproductions.figures``."""
    facts: tuple[str, ...] = ("forget",)
    """Sets of facts that the figure needs."""
    needs: tuple[str, ...] = ()
    """Further keys of a model in the config that the figure needs."""


_DISSECTING = "Hong et al. 2024, Dissecting Fine-Tuning Unlearning"
_UNDIAL = "Dong et al. 2025, UnDIAL"
_ALL = (
    Figure(
        name="D-F2",
        about="KRS over centre layers: coefficients, attention, both, value vectors; by method and averaged",
        source=f"{_DISSECTING}, KRS over layers",
        module="krs_curves",
        needs=("unlearned",),
    ),
    Figure(
        name="D-F3",
        about="behaviour on target and unrelated facts, BLEU and ROUGE-L against the base model's answers",
        source=f"{_DISSECTING}, global behaviour: a reconstruction, the paper's own protocol is not published",
        module="global_behaviour",
        facts=("forget", "unrelated"),
    ),
    Figure(
        name="U-F1",
        about="forgetting and utility over epochs, a curve a learning rate",
        source=f"{_UNDIAL}, repository su_lr_*",
        module="training_grid",
    ),
    Figure(
        name="U-F3",
        about="forgetting and utility over epochs, a curve a strength gamma",
        source=f"{_UNDIAL}, repository su_strength_*",
        module="training_grid",
    ),
    Figure(
        name="U-F4",
        about="forgetting against utility, all methods",
        source=f"{_UNDIAL}, repository all_methods_*",
        module="tradeoff",
    ),
    Figure(
        name="U-F5",
        about="UnDIAL with and without focus, over epochs",
        source=f"{_UNDIAL}, repository su_lr_*_focused_30",
        module="focus_figures",
        facts=("sequences",),
    ),
    Figure(
        name="U-F6",
        about="UnDIAL with and without focus, forgetting against utility",
        source=f"{_UNDIAL}, repository su_lr_EL_focused_vs_no_focus",
        module="focus_figures",
        facts=("sequences",),
    ),
    Figure(
        name="sequential",
        about="requests one after the other, each from the checkpoint of the last",
        source=f"{_UNDIAL}, sequential requests: a reconstruction after MUSE's sustainability",
        module="request_figures",
    ),
    Figure(
        name="growing",
        about="a forget set that grows, each time from the base model",
        source=f"{_UNDIAL}, scaling: a reconstruction after MUSE's scalability",
        module="request_figures",
    ),
    Figure(
        name="CV-F1",
        about="noise on one value vector: answers about its concept and about others",
        source="Hong et al. 2024, ConceptVectors, validation of concept vectors",
        module="concept_noise",
    ),
    Figure(
        name="UDS",
        about="Unlearning Depth Score of each checkpoint, with its interval",
        source="Lee, Kim and Jo 2026, UDS of each checkpoint",
        module="uds_table",
        needs=("unlearned", "retrained"),
    ),
)
FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}


def find(name: object) -> Figure:
    """The figure of that name, upper or lower case.

    Raises:
        DissectError: there is none.
    """
    for figure in FIGURES.values():
        if figure.name.casefold() == str(name).casefold():
            return figure
    close = near_miss(str(name), map(str.lower, FIGURES))
    raise DissectError(f"no figure {name!r}{close}: choose from {', '.join(FIGURES)}")
