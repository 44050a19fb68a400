"""The figures of the paper that a study repeats, and the verdict of the claims about each."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from designspace.analysis.claims import ClaimsFile
from designspace.analysis.summary import SUMMARY_FILE, read_summary
from designspace.analysis.summary_schema import ClaimRecord
from designspace.errors import nearest
from designspace.studies.study_file import FigureEntry, StudyFile

FigureVerdict = Literal[
    "shown here",
    "shown in part",
    "contradicted here",
    "undecided",
    "not trained yet",
    "not tried",
]

# Keys of a claim that name populations.
_POPULATIONS = ("first", "second", "population")


@dataclass(frozen=True)
class Evidence:
    """A claim and its verdict.

    Attributes:
        claim: Its sentence.
        report: The report that tests it.
        verdict: supported, contradicted or undecided; None before its models are trained.
        n: Models of the first and the second population, or pairs, or models of one population; of
            a claim that is not judged yet those that it states.
    """

    claim: str
    report: str
    verdict: str | None
    n: tuple[int, ...]

    def __str__(self) -> str:
        n = f" (n = {' and '.join(map(str, dict.fromkeys(self.n)))})" if self.n else ""
        return f"{self.claim}: {self.verdict or 'not trained yet'}{n}"


@dataclass(frozen=True)
class FigureAnswer:
    """What a study says about a figure of the paper.

    Attributes:
        figure: Its number.
        shows: What it shows.
        verdict: From the claims alone.
        evidence: The claims that it rests on.
        note: What the claims leave out, or why there are none.
    """

    figure: str
    shows: str
    verdict: FigureVerdict
    evidence: tuple[Evidence, ...]
    note: str


@dataclass(frozen=True)
class FigureAnswers:
    """What a study says about all figures that its file lists."""

    answers: tuple[FigureAnswer, ...]

    def text(self) -> str:
        """Return the verdicts as lines for a terminal; empty without figures."""
        lines = ["figure of the paper, and what is seen here"] if self.answers else []
        for answer in self.answers:
            lines += _wrapped(f"{answer.figure}: {answer.shows}", "   ")
            lines += _wrapped(f"   {answer.verdict}. {answer.note}".rstrip(), "   ")
            for one in answer.evidence:
                lines += _wrapped(f"   - {one}", "     ")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"figures": [asdict(answer) for answer in self.answers]}


def answer_figures(
    file: StudyFile, folder: Path, claims: Mapping[str, ClaimsFile]
) -> FigureAnswers:
    """Return the verdict on each figure that the file lists, from the reports that are written."""
    verdicts = claim_verdicts(folder, claims) if file.figures else ()
    judged = {name: one for one in verdicts for name in claim_names(one.report, one.claim)}
    return FigureAnswers(tuple(_answer(entry, judged) for entry in file.figures))


def check_figures(file: StudyFile, claims: Mapping[str, ClaimsFile]) -> Iterator[str]:
    """Yield a text for each claim that a figure names and that is in no report, or in several."""
    names = [
        (name, place)
        for place, stated in claims.items()
        for claim in stated.claims
        for name in claim_names(place, claim.claim)
    ]
    for i, entry in enumerate(file.figures):
        for name in (name for alike in entry.alternatives for name in alike):
            places = [place for stated, place in names if stated == name]
            where = f"figures[{i}].claims"
            if not places:
                sentences = [claim.claim for of in claims.values() for claim in of.claims]
                yield f"{where}: no claim {name!r}; {nearest(name, sentences)}"
            if len(places) > 1:
                yield (
                    f"{where}: the claim {name!r} is in the reports {' and '.join(places)}; write "
                    f"which one: '{places[0]}: {name}'"
                )


def claim_names(report: str, sentence: str) -> tuple[str, str]:
    """Return what figures may call a claim of a report."""
    return sentence, f"{report}: {sentence}"


def claim_verdicts(folder: Path, claims: Mapping[str, ClaimsFile]) -> tuple[Evidence, ...]:
    """Return the verdict of each claim, from the reports that are written.

    One of a report that was written for another claim in the same words does not count.
    """
    verdicts = []
    for place, stated in claims.items():
        records = _records(folder / place / SUMMARY_FILE)
        for claim in stated.claims:
            record = records.get(claim.claim)
            if record is not None and not _states_the_same(record.stated, claim.stated()):
                record = None
            n: tuple[int, ...] = () if claim.n is None else (claim.n,)
            verdict, n = (None, n) if record is None else (record.verdict, record.n)
            verdicts.append(Evidence(claim.claim, place, verdict, n))
    return tuple(verdicts)


def _states_the_same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether two claims are equal but for their words; reports of earlier versions have no record.

    Reports call populations by the ends of their names.
    """
    ends = [
        {k: str(v).rpartition("/")[2] if k in _POPULATIONS else v for k, v in stated.items()}
        for stated in (one, two)
    ]
    return not one or ends[0] == ends[1]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 100, subsequent_indent=indent, break_on_hyphens=False)


def _records(path: Path) -> dict[str, ClaimRecord]:
    claims = read_summary(path).claims if path.is_file() else None
    return {record.claim: record for record in claims or ()}


def _answer(entry: FigureEntry, judged: Mapping[str, Evidence]) -> FigureAnswer:
    evidence = tuple(_last_judged([judged[name] for name in names]) for names in entry.alternatives)
    verdicts = {one.verdict for one in evidence}
    verdict: FigureVerdict
    if not evidence:
        verdict = "not tried"
    elif verdicts == {None}:
        verdict = "not trained yet"
    elif "contradicted" in verdicts:
        verdict = "contradicted here"
    elif verdicts <= {"supported", None}:
        whole = None not in verdicts and not entry.partly
        verdict = "shown here" if whole else "shown in part"
    else:
        verdict = "undecided"
    return FigureAnswer(entry.figure, entry.shows, verdict, evidence, entry.note)


def _last_judged(alike: Sequence[Evidence]) -> Evidence:
    """Return the last of claims that ask the same of ever more models that is judged."""
    return next((one for one in reversed(alike) if one.verdict is not None), alike[-1])
