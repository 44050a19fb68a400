"""Check the claims and rank agreements of a study: whether the models can decide them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from designspace.analysis.claim_tests import ROUNDED_TOGETHER
from designspace.analysis.claims import ClaimsFile, ComparisonClaim, ParameterClaim
from designspace.analysis.rank_agreement import MIN_RANKED
from designspace.errors import counted, nearest
from designspace.space import Space
from designspace.studies.claim_parameters import parameter_names
from designspace.studies.study_file import StudyFile
from designspace.studies.subset import models_to_train, pairs_to_train


def check_claims(
    file: StudyFile, claims: Mapping[str, ClaimsFile], spaces: Mapping[str, Space]
) -> Iterator[str]:
    """Yield a text for each claim that the models of a study can't decide.

    Args:
        file: The study.
        claims: The claims of each report.
        spaces: The spaces that can be loaded, by population.
    """
    for place in claims:
        yield from _Check(file, spaces).claims(place, claims[place])


def check_agreements(file: StudyFile, spaces: Mapping[str, Space]) -> Iterator[str]:
    """Yield a text for each rank agreement of populations that can't be ranked alike."""
    for place, names in file.agreements.items():
        yield from _Check(file, spaces).agreement(f"agreements.{place}", names)


@dataclass(frozen=True)
class _Check:
    file: StudyFile
    spaces: Mapping[str, Space]

    def claims(self, report: str, stated: ClaimsFile) -> Iterator[str]:
        place, claims = f"reports.{report}.claims", stated.claims
        texts = [claim.claim for claim in claims]
        for text in dict.fromkeys(texts):
            if texts.count(text) > 1:
                yield f"{place}: the claim {text!r} is there twice; word each differently"
        named = self.file.reports[report].by_claim_name
        for claim in claims:
            for name in claim.populations:
                several = self.file.reports[report].ambiguous(name)
                if several:
                    yield (
                        f"{place}: the claim {claim.claim!r} is about {name!r}, the last name of "
                        f"{' and of '.join(several)}; write the whole name"
                    )
            if claim.n is not None:
                for name in claim.populations:
                    yield from self._claimed(report, claim.claim, claim.n, named[name])
            if isinstance(claim, ComparisonClaim):
                yield from self._compared(report, claim)
                continue
            name = named[claim.population]
            if (space := self.spaces.get(name)) is None:
                continue
            parameters = parameter_names(space, self.file.entry(name).toggle)
            if claim.parameter not in parameters:
                yield (
                    f"{place}: the claim {claim.claim!r} is about {claim.parameter!r}, but "
                    f"{claim.population} has no such parameter; "
                    f"{nearest(claim.parameter, parameters)}"
                )
            else:
                words = f"{place}: the claim {claim.claim!r}"
                names = space.activations if claim.parameter == "activation" else ()
                yield from _levels(words, claim, names)

    def _claimed(self, report: str, claim: str, n: int, name: str) -> Iterator[str]:
        """Check that a claim's n is no more than there are models to judge."""
        limit = self.file.reports[report].n
        models = models_to_train(self.file, name, limit)
        if n > models:
            which = "the report" if limit == models else name
            yield (
                f"reports.{report}.claims: the claim {claim!r} has n = {n}, but {which} has "
                f"{counted(models, 'model')}; lower n"
            )

    def _compared(self, report: str, claim: ComparisonClaim) -> Iterator[str]:
        """Check that a claim about two populations compares enough models, or the same bodies."""
        place = f"reports.{report}.claims: the claim {claim.claim!r}"
        entry = self.file.reports[report]
        first, second = (entry.by_claim_name[name] for name in claim.populations)
        least, pairs = claim.n or 2, pairs_to_train(self.file, first, second, entry.n)
        if min(models_to_train(self.file, name, entry.n) for name in (first, second)) < 2:
            yield f"{place} compares means, which needs two or more models of each population"
        elif self._are_seeds(first, second):
            yield (
                f"{place} compares {claim.first} and {claim.second}, which reports show as one "
                "population, trained with two seeds; leave it out"
            )
        elif not claim.paired:
            return
        elif not self._same_bodies(first, second):
            yield (
                f"{place} is paired, but {claim.first} and {claim.second} are not the same bodies; "
                "one must be same_as the other, or both same_as a third"
            )
        elif self._differ_in_several(first, second):
            yield (
                f"{place} is paired, but {claim.first} and {claim.second} differ in several "
                "settings; compare each with a population that differs in one"
            )
        elif pairs < least:
            yield (
                f"{place} is paired, but {claim.first} and {claim.second} have "
                f"{counted(pairs, 'common model')}; it needs {least} or more"
            )

    def _are_seeds(self, first: str, second: str) -> bool:
        """Return whether two populations differ in their seeds alone."""
        if first not in self.file.populations or second not in self.file.populations:
            return False
        entries = [self.file.populations[name] for name in (first, second)]
        trained = {(self.file.epochs_of(e), self.file.val_of(e)) for e in entries}
        seeds = len({entry.seed for entry in entries}) == 2
        return seeds and len(trained) == 1 and self._same_models(first, second)

    def _differ_in_several(self, first: str, second: str) -> bool:
        """Return whether two populations of the same bodies differ in more than one setting."""
        one, two = (self.file.entry(name) for name in (first, second))
        settings = {
            name
            for name in {*(one.toggle or {}), *(two.toggle or {})}
            if (one.toggle or {}).get(name) != (two.toggle or {}).get(name)
        }
        if self.file.epochs_of(one) != self.file.epochs_of(two):
            settings.add("epochs")
        if self.file.val_of(one) != self.file.val_of(two):
            settings.add("val")
        return len(settings) > 1 and not settings <= ROUNDED_TOGETHER

    def _same_bodies(self, first: str, second: str) -> bool:
        """Return whether model i of both is the same body but for a toggle, as far as is known."""
        bases = [
            self.file.populations[name].same_as or name if name in self.file.populations else name
            for name in (first, second)
        ]
        if bases[0] == bases[1]:
            return True
        refined = {entry.space for entry in self.file.refinements}
        texts = [str(self.file.base(name).space) for name in (first, second)]
        budgets = [self.file.budget_of(self.file.base(name)) for name in (first, second)]
        # A space that is yet to be written.
        if refined & {text.partition("@")[0] for text in texts}:
            return texts[0] == texts[1] and budgets[0] == budgets[1]
        spaces = [self.spaces.get(name) for name in bases]
        if spaces[0] is None or spaces[1] is None:
            return True
        return spaces[0].hash == spaces[1].hash and budgets[0] == budgets[1]

    def agreement(self, place: str, names: list[str]) -> Iterator[str]:
        """Check that populations are trainings of the same models, whose ranks can be compared."""
        sampled = [*dict.fromkeys(names)]
        for i, other in enumerate(sampled[1:], start=1):
            first = sampled[0]
            if not self._same_models(first, other):
                yield (
                    f"{place}: {first} and {other} are not the same models; one must be same_as "
                    "the other, or both same_as a third"
                )
                continue
            common = pairs_to_train(self.file, first, other)
            if self._schedule_of(first)[0] != self._schedule_of(other)[0] and common < MIN_RANKED:
                yield (
                    f"{place}: {first} and {other} have {counted(common, 'common model')}; a rank "
                    f"correlation needs {MIN_RANKED} or more"
                )
            for before in sampled[:i]:
                if self._schedule_of(before) == self._schedule_of(other):
                    yield f"{place}: {before} and {other} have the same epochs and the same seed"

    def _same_models(self, first: str, second: str) -> bool:
        toggles = [self.file.entry(name).toggle for name in (first, second)]
        return toggles[0] == toggles[1] and self._same_bodies(first, second)

    def _schedule_of(self, name: str) -> tuple[int | None, int]:
        """Return epochs and seed."""
        entry = self.file.entry(name)
        return self.file.epochs_of(entry), entry.seed


def _levels(place: str, claim: ParameterClaim, names: Sequence[str]) -> Iterator[str]:
    """Check that a claim about a parameter treats names as names, and numbers as numbers.

    Args:
        place: What begins the messages.
        claim: The claim.
        names: The parameter's values if they are names, else none.
    """
    low = getattr(claim, "low", None)
    if claim.kind == "trend":
        if names:
            yield (
                f"{place} is about a trend, but the values of {claim.parameter} are names, which "
                "have no order; claim that one of them is best_in"
            )
    elif names and low not in names:
        yield f"{place}: low is {low!r}; {claim.parameter} is {' or '.join(names)}"
    elif not names and isinstance(low, str):
        yield f"{place}: low is {low!r}; {claim.parameter} is a number"
