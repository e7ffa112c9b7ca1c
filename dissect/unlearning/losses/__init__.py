"""The unlearning objectives as pure functions, one a file.

``labels`` hold -100 where a token is not scored; logits at position t predict the label at t + 1. Each objective
returns a scalar tensor that is to be minimised. Beside it stands what it is a mean of: ``*_rows`` on the flat rows of
`predicting_rows`, or ``*_sequences`` on what each sequence sums over its rows.
"""

from dissect.unlearning.losses.ceu import ceu, ceu_rows
from dissect.unlearning.losses.dpo import dpo, dpo_sequences
from dissect.unlearning.losses.flat_rows import IGNORED, nll_rows, predicting_rows, soft_rows
from dissect.unlearning.losses.gradient_ascent import gradient_ascent
from dissect.unlearning.losses.gradient_difference import gradient_difference
from dissect.unlearning.losses.kl_to_reference import kl, kl_rows
from dissect.unlearning.losses.max_entropy import max_entropy, max_entropy_rows
from dissect.unlearning.losses.nll import answer_nll, nll, sequence_nll, token_nll
from dissect.unlearning.losses.npo import npo, npo_sequences
from dissect.unlearning.losses.pdu import pdu, pdu_rows
from dissect.unlearning.losses.rmu import rmu, squared_distance_rows, text_mean, unit_direction
from dissect.unlearning.losses.satimp import satimp, satimp_rows
from dissect.unlearning.losses.simnpo import simnpo, simnpo_sequences
from dissect.unlearning.losses.top_k import TopK, kl_top_k_rows, undial_top_k, undial_top_k_rows
from dissect.unlearning.losses.undial import targets_of_teacher, undial, undial_rows
from dissect.unlearning.losses.wga import wga, wga_rows

__all__ = [
    "IGNORED",
    "TopK",
    "answer_nll",
    "ceu",
    "ceu_rows",
    "dpo",
    "dpo_sequences",
    "gradient_ascent",
    "gradient_difference",
    "kl",
    "kl_rows",
    "kl_top_k_rows",
    "max_entropy",
    "max_entropy_rows",
    "nll",
    "nll_rows",
    "npo",
    "npo_sequences",
    "pdu",
    "pdu_rows",
    "predicting_rows",
    "rmu",
    "satimp",
    "satimp_rows",
    "sequence_nll",
    "simnpo",
    "simnpo_sequences",
    "soft_rows",
    "squared_distance_rows",
    "targets_of_teacher",
    "text_mean",
    "token_nll",
    "undial",
    "undial_rows",
    "undial_top_k",
    "undial_top_k_rows",
    "unit_direction",
    "wga",
    "wga_rows",
]
