"""A population: n models of one space, as arrays, with their cost and content hashes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from designspace.arch.body import Arch, Stages
from designspace.arch.cost import Cost, cost
from designspace.arch.model import Model
from designspace.arch.regnet import RegNet, RegNets
from designspace.arch.skeleton import Frame
from designspace.errors import InputError


@dataclass(frozen=True, eq=False)
class Population:
    """n models in sampled order.

    Attributes:
        frame: What lies around the stages of every model.
        stages: The bodies, arrays (n, stages).
        cost: Their cost, arrays (n,).
        regnets: The parameters behind the bodies, arrays (n,), or None for AnyNets.
    """

    frame: Frame
    stages: Stages
    cost: Cost
    regnets: RegNets | None = None

    def __post_init__(self) -> None:
        assert len(self.stages) == len(self.cost)
        assert self.regnets is None or len(self.regnets) == len(self.stages)

    @staticmethod
    def of(models: Sequence[Model]) -> "Population":
        """Put single models side by side.

        Raises:
            InputError: There are none, two are equal, or their blocks, input, stem, strides or
                classes differ.
        """
        if not models:
            raise InputError("no models given")
        first, seen = models[0], dict[Arch, str]()
        for model in models:
            if model.frame != first.frame:
                raise InputError(
                    f"{model.name} and {first.name} differ in input, stem, strides or classes: "
                    f"{model.frame.to_dict()} and {first.frame.to_dict()}; one recipe can't train "
                    "both"
                )
            if model.arch.block != first.arch.block:
                raise InputError(
                    f"{model.name} is made of {model.arch.block} blocks and {first.name} of "
                    f"{first.arch.block} blocks; a population has one kind"
                )
            if model.arch in seen:
                raise InputError(f"{model.name} and {seen[model.arch]} are the same network")
            seen[model.arch] = model.name
        stages = Stages.from_archs([model.arch for model in models])
        regnets = [model.regnet for model in models if model.regnet is not None]
        return Population(
            frame=first.frame,
            stages=stages,
            cost=cost(stages, first.frame),
            regnets=RegNets.from_list(regnets) if len(regnets) == len(models) else None,
        )

    def __len__(self) -> int:
        return len(self.stages)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Content hash of each model's body."""
        return tuple(arch.id for arch in self.archs())

    def archs(self) -> Iterator[Arch]:
        """Yield each model's body."""
        return (self.stages.arch(i) for i in range(len(self)))

    def regnet(self, i: int) -> RegNet | None:
        """Return the RegNet parameters of model i, if the space has any."""
        return None if self.regnets is None else self.regnets.regnet(i)

    def model(self, i: int, name: str | None = None) -> Model:
        """Return model i as a whole network."""
        return Model(name or f"model-{i}", self.stages.arch(i), self.frame, self.regnet(i))

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield each model as plain data, as it stands in population.jsonl."""
        for i, arch in enumerate(self.archs()):
            record = {
                "id": self.ids[i],
                "index": i,
                "arch": arch.to_dict(),
                "flops": int(self.cost.flops[i]),
                "params": int(self.cost.params[i]),
                "acts": int(self.cost.acts[i]),
            }
            regnet = self.regnet(i)
            yield record if regnet is None else {**record, "regnet": regnet.to_dict()}
