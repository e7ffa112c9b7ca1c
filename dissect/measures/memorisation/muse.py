"""MUSE's verbatim and knowledge memorisation: ROUGE-L of what a model says (Shi et al. 2025, arXiv:2407.06460)."""

from dissect.data.fact import Fact
from dissect.data.facts import Facts
from dissect.errors import DissectError, Undefined
from dissect.measures.behaviour.overlap import rouge_l
from dissect.measures.estimate import Estimate, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import switch, whole_number
from dissect.reading.continuations import continuations, decoded

STEMMER = switch("muse.stemmer", False, "Compare Porter stems, as open-unlearning does; MUSE compares words.")
VERBATIM_TOKENS = whole_number("muse_verbmem.max_new_tokens", 128, "Tokens of the continuation, and of its reference.")
ANSWER_TOKENS = whole_number("muse_knowmem.max_new_tokens", 32, "Tokens of an answer.")
STOPS = ("\n\n", "\nQuestion", "Question:")
"""Texts that end an answer: what a model writes when it goes on to a next question."""
SHOTS = {"knowmem_forget": "knowmem_forget_shots", "knowmem_retain": "knowmem_retain_shots"}
"""The set that a set's solved questions come from; without it there are none."""


def verbatim(examined: Examined) -> Estimate:
    """Mean ROUGE-L F1 of the continuation of each prompt with the text that followed, both in as many tokens.

    Raises:
        Undefined: facts without prompt and completion, or a prompt that fills the context.
    """
    facts, room, tokenizer = examined.facts, examined.option(VERBATIM_TOKENS), examined.model.tokenizer
    if any(fact.prompt is None or fact.completion is None for fact in facts):
        raise Undefined("it continues prompts: give each fact a 'prompt' and what followed it as 'completion' or 'gt'")
    # MUSE cuts the reference at so many tokens, of which its tokenizer's BOS is one
    followed = [decoded(tokenizer, tokenizer(followed_by(fact)).input_ids[:room]) for fact in facts]
    said = _said(examined, [str(fact.prompt) for fact in facts], room)
    return share_of(rouge_l(list(zip(followed, said, strict=True)), stemmer=examined.option(STEMMER))[0])


def knowledge(examined: Examined) -> Estimate:
    """Mean ROUGE-L F1 of the answers, asked after the solved questions of the set's shots.

    Raises:
        Undefined: facts without question and answer, or a question that fills the context.
    """
    if any(fact.question is None or fact.answer is None for fact in examined.facts):
        raise Undefined("it asks questions: give each fact a 'question' and its 'answer'")
    shots = examined.sets.get(SHOTS[examined.set], Facts())
    solved = "".join(f"Question: {shot.question}\nAnswer: {shot.answer}\n\n" for shot in shots)
    asked = [f"{solved}Question: {fact.question}\nAnswer: " for fact in examined.facts]
    said = [_until_stop(text) for text in _said(examined, asked, examined.option(ANSWER_TOKENS))]
    expected = [str(fact.answer) for fact in examined.facts]
    return share_of(rouge_l(list(zip(expected, said, strict=True)), stemmer=examined.option(STEMMER))[0])


def followed_by(fact: Fact) -> str:
    """What followed a prompt, as published: without the space that joins it to the prompt where the file had none."""
    completion = str(fact.completion)
    return completion[1:] if completion.startswith(" ") else completion


def _said(examined: Examined, texts: list[str], room: int) -> list[str]:
    settings = examined.settings
    try:
        return continuations(
            examined.model,
            texts,
            max_new_tokens=room,
            batch_size=settings.batch_size,
            progress=settings.progress,
        )
    except DissectError as error:
        raise Undefined(str(error)) from error


def _until_stop(text: str) -> str:
    for stop in STOPS:
        text = text.split(stop)[0]
    return text


MEASURES = (
    Measure(
        name="muse_verbmem",
        label="MUSE VerbMem",
        definition=(
            "mean ROUGE-L F1 (words, unless muse.stemmer is true) of the greedy continuation of each prompt with what "
            "followed it, both in muse_verbmem.max_new_tokens tokens (MUSE, Shi et al. 2025, which has it times 100)"
        ),
        family="memorisation",
        compute=verbatim,
        options=(STEMMER, VERBATIM_TOKENS),
        sets=("verbmem",),
        knows="high",
        slow=True,
    ),
    Measure(
        name="muse_knowmem",
        label="MUSE KnowMem",
        definition=(
            "mean ROUGE-L F1 (words, unless muse.stemmer is true) of the greedy answers with the expected ones, asked "
            "as 'Question: ... Answer: ' after the solved questions of the set's shots, cut off where a next question "
            "begins (MUSE, Shi et al. 2025, which reports it times 100)"
        ),
        family="memorisation",
        compute=knowledge,
        options=(STEMMER, ANSWER_TOKENS),
        sets=("knowmem_forget", "knowmem_retain"),
        knows="high",
        slow=True,
    ),
)
