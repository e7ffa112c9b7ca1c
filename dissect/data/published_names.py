"""The names that published data give to the parts of a fact, brought to the names that dissect uses."""

from collections.abc import Mapping, Sequence
from typing import Any

from dissect.data.cell_values import listed_cell
from dissect.errors import DissectError

QUESTION_NAMES = ("query", "instruction")
"""Other names of `question`: RWKU's, and those of instruction data."""
ANSWER_NAMES = ("gt", "ground_truth", "response", "output")
"""Other names of what is to be said: MUSE's `gt` after a `prompt`, `response` and `output` of instruction data."""
RENAMED = {"paraphrased_question": "paraphrases", "perturbed_answer": "perturbed"}
"""TOFU's names of lists, and ours; the published name is kept beside."""
LISTS = (
    "choices",
    "options",
    "perturbed",
    "perturbed_answer",
    "paraphrases",
    "paraphrased_question",
    "held_out",
    "short",
)
"""Keys that hold a list of texts, which a table has as text in one cell."""
_CORE = ("question", "answer", "prompt", "completion", "text")
_INDEX_NAMES = ("answer_index", "answer_idx", "answerKey", "label", "correct")
"""Where the right one of the `choices` is named, if it is not under `answer`."""
_CHOICE_NAMES = ("options",)
"""Other names of `choices`."""
_KNOWN = {
    name.lower(): name
    for name in (*_CORE, *QUESTION_NAMES, *ANSWER_NAMES, *RENAMED, *LISTS, *_CHOICE_NAMES, *_INDEX_NAMES)
}
"""Every name that means something here, by its spelling in lower case."""


def known_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row under the names that dissect uses; a name that is there already is never replaced.

    - Names are taken without the white space around them, and those that mean something here in any case.
    - `query` and `instruction` are the question where a row has none, and no prompt or text; `gt`, `ground_truth`,
      `response` and `output` are its answer, or after a `prompt` its completion, joined by a space where neither has
      one.
    - `options`, or columns `A`, `B`, ... beside a question, are its `choices`.
    - `choices` with the right one's number (from 0), letter or text as the `answer` become that choice's text and the
      others as `perturbed`.
    - `paraphrased_question` and `perturbed_answer` are `paraphrases` and `perturbed`, as lists.
    - A list that is written as text becomes a list.

    Raises:
        DissectError: an answer that is none of the choices.
    """
    renamed = stripped_names(row)
    if not any(_given(renamed, key) for key in ("question", "prompt", "text")):
        _move(renamed, QUESTION_NAMES, "question")
    if _given(renamed, "question") and not _given(renamed, "completion"):
        _move(renamed, ANSWER_NAMES, "answer")
    elif _given(renamed, "prompt") and not (_given(renamed, "answer") or _given(renamed, "text")):
        joined = _move(renamed, ANSWER_NAMES, "completion")
        renamed = _joined(renamed) if joined else renamed
    for key in LISTS:
        if isinstance(renamed.get(key), str):
            renamed[key] = listed_cell(renamed[key])
    _gather_choices(renamed)
    if renamed.get("choices") is not None and _given(renamed, "question"):
        _choose(renamed)
    for published, ours in RENAMED.items():
        if renamed.get(published) is not None and renamed.get(ours) is None:
            value = renamed[published]
            renamed[ours] = list(value) if isinstance(value, (list, tuple)) else [value]
    return renamed


def stripped_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its names stripped, and those that are known here as they are known, where that hides no other."""
    stripped = {(key.strip() if isinstance(key, str) else key): value for key, value in row.items()}
    for key in list(stripped):
        known = _KNOWN.get(key.lower(), key) if isinstance(key, str) else key
        if known != key and known not in stripped:
            stripped[known] = stripped.pop(key)
    return stripped


def _given(row: Mapping[str, Any], key: str) -> bool:
    return row.get(key) not in (None, "")


def _move(row: dict[str, Any], names: Sequence[str], to: str) -> bool:
    """Take the first of the names that holds text as `to`, where that is missing; whether one was taken."""
    if _given(row, to):
        return False
    for name in names:
        if isinstance(row.get(name), str):
            row[to] = row.pop(name)
            return True
    return False


def _joined(row: dict[str, Any]) -> dict[str, Any]:
    """The row with one space between prompt and completion, where neither brings one."""
    prompt, completion = row["prompt"], row["completion"]
    spaced = not isinstance(prompt, str) or not completion or prompt[-1:].isspace() or completion[:1].isspace()
    return row if spaced else row | {"completion": " " + completion}


def _choose(row: dict[str, Any]) -> None:
    """Put the right choice under `answer` and the others under `perturbed`."""
    names, texts = _choices(row["choices"])
    key = "answer" if _given(row, "answer") else next((name for name in _INDEX_NAMES if _given(row, name)), None)
    if key is None or not texts:
        return
    right_index = _place(row[key], names, texts)
    if right_index is None:
        if isinstance(row[key], str) and key == "answer":
            return  # an answer in its own words, beside which the choices ride along
        raise DissectError(
            f"{key!r} is {row[key]!r:.60} and names none of the {len(texts)} choices: give a number from 0 to "
            f"{len(texts) - 1}, a letter or the text"
        )
    row["answer"], row["answer_index"] = texts[right_index], right_index
    if row.get("perturbed") is None and row.get("perturbed_answer") is None:
        row["perturbed"] = texts[:right_index] + texts[right_index + 1 :]


def _gather_choices(row: dict[str, Any]) -> None:
    """Put what is called `options`, or stands in columns A, B, ..., under `choices`, where the right one is named."""
    if row.get("choices") is not None or not _given(row, "question"):
        return
    texts = [row[name] for name in _letters(26) if isinstance(row.get(name), str)]
    if isinstance(row.get("options"), (list, tuple, Mapping)):
        row["choices"] = row.pop("options")
    elif len(texts) > 1 and all(name in row for name in _letters(len(texts))):
        row["choices"] = texts


def _choices(value: Any) -> tuple[list[str], list[str]]:
    """Names and texts of the choices; ARC has both, others call them A, B, C, ... ."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), (list, tuple)):
        texts = [str(text) for text in value["text"]]
        return [str(name) for name in value.get("label", ())] or _letters(len(texts)), texts
    if isinstance(value, Mapping) and value and all(isinstance(text, str) for text in value.values()):
        return [str(name) for name in value], list(value.values())
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return _letters(len(value)), list(value)
    raise DissectError(f"'choices' must be a list of texts, got {value!r:.60}: give one text a choice")


def choice_texts(value: Any) -> list[str]:
    """The texts of published choices: a list, texts by letter, or ARC's ``text`` and ``label``.

    Raises:
        DissectError: they are no texts.
    """
    return _choices(value)[1]


def _letters(n: int) -> list[str]:
    return [chr(ord("A") + i) for i in range(n)]


def _place(value: Any, names: list[str], texts: list[str]) -> int | None:
    """Which choice is meant: by its text, its letter or its number."""
    if isinstance(value, str):
        text = value.strip()
        for held in (texts, names):
            if text in held:
                return held.index(text)
        if text.upper() in names:
            return names.index(text.upper())
        value = int(text) if text.isdecimal() else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(texts)
    return value if fits else None
