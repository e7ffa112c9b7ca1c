"""`Verdicts`: the word for each checkpoint with its numbers; kept as ``verdict.json``, format 1 (docs/verdict.md)."""

import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dissect.errors import DissectError, near_miss
from dissect.files import atomic_file
from dissect.verdicts.judged import Verdict, verdict_in, verdict_out

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Verdicts(Sequence[Verdict]):
    """The checkpoints of one call, by number or by name."""

    base: Mapping[str, Any]
    """``name``, ``path``, ``forced_choice`` with its interval, ``p``, ``answers``."""
    groups: Sequence[Mapping[str, Any]]
    """``name``, ``kind``, ``facts``, ``subjects``, ``answers``, ``exact``, ``note``."""
    checkpoints: tuple[Verdict, ...]
    retrained: Verdict | None
    tested: Sequence[int]
    """The number of each tested fact among the forget facts."""
    spec: Mapping[str, Any]
    """Facts, settings, lines, seed and versions."""

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self.checkpoints[key]
        for verdict in self.checkpoints:
            if verdict.name == key:
                return verdict
        names = [verdict.name for verdict in self.checkpoints]
        raise DissectError(f"no checkpoint {key!r}{near_miss(key, names)}: there are {', '.join(names)}")

    def __len__(self) -> int:
        return len(self.checkpoints)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.checkpoints)

    def table(self) -> pd.DataFrame:
        """A row a checkpoint, the retrained model last: the word, the share left, p, what was kept, the best attack."""
        return pd.DataFrame([_shown(each) for each in self._everyone])

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each checkpoint and attack, numbers as numbers."""
        return pd.DataFrame(
            [
                {
                    "checkpoint": verdict.name,
                    "verdict": verdict.verdict,
                    "attack": row.name,
                    "label": row.label,
                    "forced_choice": row.forced_choice,
                    "low": row.low,
                    "high": row.high,
                    "z": row.z,
                    "p": row.p,
                    "p_adjusted": row.p_adjusted,
                    "share_left": row.share_left.value,
                    "share_low": row.share_left.low,
                    "share_high": row.share_left.high,
                }
                for verdict in self._everyone
                for row in verdict.attacks
            ]
        )

    def by_fact(self, name: str) -> pd.DataFrame:
        """Forced choice of each tested fact, a row a fact (by its number) and a column an attack.

        Args:
            name: of a checkpoint, or ``retrained``.

        Raises:
            DissectError: no such checkpoint.
        """
        verdict = self.retrained if name == "retrained" and self.retrained is not None else self[name]
        columns = {row.name: list(row.items) for row in verdict.attacks if row.items}
        return pd.DataFrame(columns, index=pd.Index(self.tested, name="fact"), dtype=float).sort_index()

    @property
    def _everyone(self) -> tuple[Verdict, ...]:
        return self.checkpoints if self.retrained is None else (*self.checkpoints, self.retrained)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``verdict.json``; numbers that are not finite are null.

        Raises:
            DissectError: another suffix than ``.json``.
        """
        file = Path(path)
        if file.suffix.lower() != ".json":
            raise DissectError(f"a verdict is written as JSON, got {file.name!r}: use a name that ends in .json")
        with atomic_file(file) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
        return file

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Verdicts":
        """Read what ``save`` wrote.

        Raises:
            DissectError: no such file, another kind of file, a newer format, or fields that are missing.
        """
        file = Path(path)
        if not file.is_file():
            raise DissectError(f"no such verdict: {file}: check the path")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DissectError(f"{file} is no JSON ({error}): give what dissect verdict wrote") from error
        try:
            return cls.from_dict(content)
        except DissectError as error:
            raise DissectError(f"{file}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "base": dict(self.base),
            "groups": [dict(group) for group in self.groups],
            "checkpoints": [verdict_out(verdict) for verdict in self.checkpoints],
            "tested": list(self.tested),
            "spec": dict(self.spec),
        }
        if self.retrained is not None:
            content["retrained"] = verdict_out(self.retrained)
        return content

    @classmethod
    def from_dict(cls, content: Any) -> "Verdicts":
        """From the content of a file.

        Raises:
            DissectError: it is no verdict of this format.
        """
        version = content.get("format") if isinstance(content, Mapping) else None
        if version != FORMAT:
            raise DissectError(
                f"expected a verdict of format {FORMAT}, got format {version!r}: run dissect verdict again"
            )
        try:
            retrained = content.get("retrained")
            return cls(
                base=content["base"],
                groups=content["groups"],
                checkpoints=tuple(verdict_in(each) for each in content["checkpoints"]),
                retrained=None if retrained is None else verdict_in(retrained),
                tested=content.get("tested", []),
                spec=content.get("spec", {}),
            )
        except (KeyError, TypeError) as error:
            raise DissectError(f"the verdict lacks {error}: run dissect verdict again") from error

    def __repr__(self) -> str:
        return f"{self.table().to_string(index=False)}\n\n" + "\n\n".join(map(repr, self.checkpoints))

    def _repr_html_(self) -> str:
        said = "".join(
            f"<p><b>{html.escape(each.name)}: {html.escape(each.headline)}.</b> {html.escape(each.words)}</p>"
            for each in self.checkpoints
        )
        return self.table().to_html(index=False, escape=True) + said


def _shown(verdict: Verdict) -> dict[str, str]:
    made = [row for row in verdict.attacks if not row.not_possible]
    best = max(made, key=lambda row: row.forced_choice, default=None)
    as_asked = next((row for row in made if row.name == "as_asked"), None)
    return {
        "checkpoint": verdict.name,
        "verdict": verdict.verdict,
        "share left": str(verdict.share_left),
        "p": f"{verdict.p_adjusted:.4f}",
        "kept": "" if verdict.kept is None else str(verdict.kept),
        "as asked": "" if as_asked is None else f"{as_asked.forced_choice:.2f}",
        "highest": "" if best is None else f"{best.forced_choice:.2f} ({best.label})",
    }
