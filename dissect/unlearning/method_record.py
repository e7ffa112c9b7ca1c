"""The record of an unlearning method: everything that the rest of the package has to know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Sees = Literal["tokens", "answers", "states"]
"""Inputs of a loss: the logits of every scored token, the summed NLL of every answer, or the states after a layer."""
Needs = Literal["nll", "distributions", "states"]
"""Outputs of the reference that a loss compares with: the NLL of every answer, the distribution at every scored token,
or the hidden state there."""
RetainRule = Literal["optional", "required", "none"]
"""Rule for a retain loss: it may, must or must not stand beside the method's own loss."""


@dataclass(frozen=True)
class PublishedForm:
    """One of several published forms of a method: the tokens that it scores."""

    whole_texts: bool = False
    """Every token of a text is scored, not only those of the answer."""
    index_minus_100: bool = False
    """The label -100 of a token that is not scored is taken for an index: token d_vocab - 100 is meant there."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """An unlearning objective: its loss, what the loss is given, and what may be set.

    Command line, checks, training, audit and planning read this record and know no method by name. A method that sees
    something else, such as hidden states, adds a word to `Sees` (and to `Needs`), and the class of its inputs in
    ``gradient/loss_inputs.py``.
    """

    name: str
    """Name in calls, on the command line and in files."""
    label: str
    """Short name in help texts and figures."""
    about: str
    """The method in a few words."""
    equation: str
    """Loss that is minimised, in the letters of docs/unlearning.md."""
    source: str
    """Paper or library that published it."""
    loss: Callable[..., "Tensor"]
    """Function of `TokenInputs`, `AnswerInputs` or `StateInputs`, and of the settings in `loss_settings` by name. It
    returns a value for each token, or for each answer (with alternates, each pair of answers); a step minimises their
    mean."""
    sees: Sees = "tokens"
    """Inputs of the loss."""
    reference: Needs | None = None
    """Outputs of the reference that the loss compares with; None where it compares with nothing."""
    beta: float | None = None
    """The published β; None where the method has none."""
    settings: tuple[str, ...] = ()
    """Other fields of `TrainConfig` that are the method's own; its loss takes them by name."""
    run_settings: tuple[str, ...] = ()
    """Further fields that are its own, and that decide what the loss is given or how it is weighed."""
    variants: Mapping[str, PublishedForm] = field(default_factory=dict)
    """Published forms by name, the default first; the loss takes the name as ``variant``."""
    focus: bool = False
    """True if focus strings may weigh the tokens of an answer."""
    alternates: bool = False
    """True if it needs an alternate answer to every forget question."""
    replaces: bool = False
    """True if alternate answers stand in place of the forget answers, which it then never sees."""
    negates: bool = False
    """True if the end result is not the trained model but its reflection: the model before, minus what was learned."""
    perturbs: Literal["noise", "shrink"] | None = None
    """What is done to the matrices before the first step; the method then trains on the retained facts alone."""
    own_positions: bool = False
    """True if a token is scored where it stands, as some published code has it, and not where it is predicted."""
    retain: RetainRule = "optional"
    """Rule for a loss on retained facts."""
    skips: int = 0
    """Number of tokens at the start of every answer that are not scored."""
    logit_arrays: int = 3
    """Arrays of the size of the logits that are in memory together while the loss is differentiated."""

    scope: str = ""
    """Block that is trained where no scope is set, in the layer that the method steers and the two before it; all
    parameters where it is empty."""

    @property
    def loss_settings(self) -> tuple[str, ...]:
        """Names of the settings that the loss takes."""
        beta = () if self.beta is None else ("beta",)
        return (*beta, *self.settings, *(("variant",) if self.variants else ()))

    @property
    def own_settings(self) -> tuple[str, ...]:
        """Names of the settings that only this method and its like have."""
        return (*self.loss_settings, *self.run_settings, *(("focus", "focus_weight") if self.focus else ()))
