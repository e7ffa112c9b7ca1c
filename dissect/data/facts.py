"""`Facts`: an immutable sequence of facts, read from and written to files, and turned into prompts."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dissect.data.fact import Fact
from dissect.data.readers import read_facts
from dissect.data.readers.choices import choice_facts
from dissect.data.readers.conceptvectors import ConceptPart, concept_facts, looks_like_concepts
from dissect.data.readers.json_rows import json_content
from dissect.data.readers.saved_dataset import dataset_facts
from dissect.data.readers.tofu import tofu_facts
from dissect.data.readers.tofu_splits import is_split, split_file
from dissect.data.render import DEFAULT_TEMPLATE, AnswerSource
from dissect.errors import DissectError
from dissect.files import atomic_file

if TYPE_CHECKING:  # only Facts.prompts needs torch and transformers
    from dissect.data.chat.chat_settings import ChatChoice
    from dissect.data.prompts import Prompts

__all__ = ["Fact", "Facts"]


class Facts(Sequence[Fact]):
    """Facts in a fixed order: indexes give a `Fact`, slices and `filter` give `Facts`, ``+`` joins two."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        """Hold facts; mappings are refused, `from_dataset` takes them."""
        self._facts = tuple(facts)
        for i, fact in enumerate(self._facts):
            if not isinstance(fact, Fact):
                raise DissectError(f"item {i} is a {type(fact).__name__}, not a Fact: use Facts.from_dataset for rows")

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, split: str | None = None) -> "Facts":
        """Read ``.jsonl``, ``.json`` (also ConceptVectors files), ``.csv``, ``.tsv``, ``.parquet`` or a saved dataset.

        A row has ``question`` and ``answer``, ``prompt`` and ``completion`` (joined exactly as given, spaces
        included) or ``text``; every other key rides along in ``extra``. The answer may be missing from a row (not
        empty): then only the base model's own answers can be asked for.

        Args:
            path: the file, or a directory that ``datasets``' ``save_to_disk`` wrote.
            split: which split of a saved dataset that has several.

        Raises:
            DissectError: no such file, unknown suffix, no facts in it, or a row that is no fact (with its line).

        Example:
            >>> facts = dissect.Facts.read("runs/demo/forget.jsonl")
            >>> facts[0].question
            '...'
        """
        return cls(read_facts(path, split=split))

    @classmethod
    def from_conceptvectors(
        cls, path: str | os.PathLike[str], *, concept: int | str | None = None, part: ConceptPart = "QA"
    ) -> "Facts":
        """Facts of a ConceptVectors file: all concepts, or one by ``id`` or name.

        Raises:
            DissectError: not such a file, no such concept or part.
        """
        path = Path(path)
        if not path.is_file():
            raise DissectError(f"no such fact file: {path}: check the path")
        records = json_content(path)
        if not looks_like_concepts(records):
            raise DissectError(f"{path} is no ConceptVectors file (records with Concept, Layer, Dim): use Facts.read")
        return cls(concept_facts(records, concept=concept, part=part, where=str(path)))

    @classmethod
    def from_tofu(
        cls,
        source: str | os.PathLike[str] | Iterable[Any],
        *,
        split: str | None = None,
        data: str | os.PathLike[str] | None = None,
    ) -> "Facts":
        """Facts of a TOFU split: its name, a file, a saved dataset, or a dataset in memory.

        Args:
            source: a name such as ``forget10`` or ``retain90`` is a file of ``data``, or else of the hub's
                ``locuslab/TOFU``.
            data: directory with the published files.

        Raises:
            DissectError: as `read`, a row without question or answer, or a split that can be had from nowhere.

        Example:
            >>> forget = dissect.Facts.from_tofu("forget10")  # doctest: +SKIP
        """
        if is_split(source):
            source = split_file(str(source), data)
        is_path = isinstance(source, (str, os.PathLike))
        return cls(tofu_facts(read_facts(source, split=split) if is_path else dataset_facts(source)))  # type: ignore[arg-type]

    @classmethod
    def from_choices(
        cls, path: str | os.PathLike[str], *, split: str | None = None, topic: str | None = None
    ) -> "Facts":
        """Multiple-choice questions, e.g. of MMLU or WMDP: ``question``, ``choices``, the right one's number or letter.

        Args:
            path, split: as for `read`.
            topic: what the questions are about, for files that do not say (MMLU's ``subject`` does).

        Raises:
            DissectError: as `read`; choices missing, or an answer that is none of them, with file and line.

        Example:
            >>> questions = dissect.Facts.from_choices("wmdp-bio.parquet", topic="biology")  # doctest: +SKIP
        """
        return cls(choice_facts(read_facts(path, split=split), where=str(path), topic=topic))

    @classmethod
    def from_dataset(cls, dataset: Iterable[Any]) -> "Facts":
        """Facts of a ``datasets.Dataset``, or of any iterable of mappings with the keys of `read`.

        Raises:
            DissectError: a row that is no fact, with its number (the first is 1).
        """
        return cls(dataset_facts(dataset))

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write as JSON lines, which `read` takes back unchanged; the file appears only when it is whole.

        Raises:
            DissectError: another suffix than ``.jsonl``, or something in ``extra`` that JSON cannot hold.
        """
        path = Path(path)
        if path.suffix.lower() != ".jsonl":
            raise DissectError(f"facts are written as JSON lines, got {path.name!r}: use a name that ends in .jsonl")
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            for i, fact in enumerate(self):
                try:
                    file.write(json.dumps(fact.row(), ensure_ascii=False) + "\n")
                except TypeError as error:
                    raise DissectError(f"fact {i} cannot be written as JSON ({error}): change its extra") from error
                except UnicodeEncodeError as error:  # a lone surrogate
                    raise DissectError(
                        f"fact {i} holds what is no character ({error.reason}): mend its text"
                    ) from error
        return path

    def filter(self, keep: Callable[[Fact], bool]) -> "Facts":
        """The facts for which ``keep`` is true, in order."""
        return Facts(fact for fact in self if keep(fact))

    def prompts(
        self,
        source: Any,
        *,
        template: str = DEFAULT_TEMPLATE,
        answers: AnswerSource = "gold",
        max_new_tokens: int = 30,
        n_ctx: int | None = None,
        batch_size: int = 32,
        progress: bool = True,
        chat: "ChatChoice" = None,
        max_length: int | None = None,
        stride: int | None = None,
    ) -> "Prompts":
        """Tokenise, with the answers marked; the particulars are those of `dissect.data.make_prompts.make_prompts`.

        Args:
            source: a fast tokenizer, or a model with one; a model also bounds the length by its context.
            template: for questions; ``{question}`` and whatever else the facts carry in ``extra``.
            answers: "gold" for the answers of the facts, "base" for the model's own greedy ones.
            max_new_tokens: at most so many tokens of a model's own answer.
            n_ctx: the longest row allowed; None takes the model's context, or none for a tokenizer.
            batch_size: prompts of equal length that are answered together.
            progress: show a bar while the model answers.
            chat: True to ask in the checkpoint's own chat template, or a mapping with ``system``, ``shots``,
                ``end_of_turn`` and the template's own arguments; the ids are those of ``apply_chat_template``.
            max_length, stride: cut longer plain texts into windows of so many tokens, so far apart.

        Raises:
            DissectError: what cannot be asked: see `make_prompts`.

        Example:
            >>> model = dissect.load("runs/demo/base")
            >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(model)
            >>> prompts.prompt_texts[0]
            'Question: ...\\nAnswer:'
            >>> instruct = dissect.load("runs/instruct")  # doctest: +SKIP
            >>> facts.prompts(instruct, chat={"system": "Answer in one sentence."})  # doctest: +SKIP
        """
        from dissect.data.make_prompts import make_prompts

        return make_prompts(
            self,
            source,
            template=template,
            answers=answers,
            max_new_tokens=max_new_tokens,
            n_ctx=n_ctx,
            batch_size=batch_size,
            progress=progress,
            chat=chat,
            max_length=max_length,
            stride=stride,
        )

    @overload
    def __getitem__(self, key: int) -> Fact: ...
    @overload
    def __getitem__(self, key: slice) -> "Facts": ...
    def __getitem__(self, key: int | slice) -> "Fact | Facts":
        """One fact, or the facts of a slice."""
        return Facts(self._facts[key]) if isinstance(key, slice) else self._facts[key]

    def __len__(self) -> int:
        """How many facts."""
        return len(self._facts)

    def __iter__(self) -> Iterator[Fact]:
        """The facts in order."""
        return iter(self._facts)

    def __add__(self, other: object) -> "Facts":
        """These facts, then those."""
        return Facts((*self, *other)) if isinstance(other, Facts) else NotImplemented

    def __eq__(self, other: object) -> bool:
        """Equal facts in the same order, ``extra`` included."""
        return self._facts == other._facts if isinstance(other, Facts) else NotImplemented

    def __hash__(self) -> int:
        """Hash of the texts (``extra`` may hold lists)."""
        return hash(self._facts)

    def __repr__(self) -> str:
        """How many, and how the first few begin."""
        lines = [f"  {i}: {_line(fact)}" for i, fact in enumerate(self._facts[:3])]
        more = [f"  ... and {len(self) - 3} more"] if len(self) > 3 else []
        return "\n".join([f"Facts({len(self)})", *lines, *more])


def _line(fact: Fact) -> str:
    start = getattr(fact, fact.kind)
    start = start if len(start) <= 60 else start[:57] + "..."
    return f"{start!r}" if fact.kind == "text" else f"{start!r} -> {fact.target!r:.60}"
