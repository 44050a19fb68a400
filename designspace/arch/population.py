"""A population: n models of one space, as arrays, with their cost and content hashes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from designspace.arch.body import Body, BodyBatch
from designspace.arch.cost import Cost, cost
from designspace.arch.model import Model
from designspace.arch.regnet import RegNetParams, RegNetParamsBatch
from designspace.arch.skeleton import Skeleton
from designspace.errors import InputError


@dataclass(frozen=True, eq=False)
class Population:
    """n models in sampled order.

    Attributes:
        skeleton: What surrounds the stages of every model; a model of fewer stages than it has
            strides takes the first ones.
        bodies: The stages, arrays (n, stages).
        cost: Their cost, arrays (n,).
        regnets: The parameters behind the bodies, arrays (n,), or None for AnyNets.
    """

    skeleton: Skeleton
    bodies: BodyBatch
    cost: Cost
    regnets: RegNetParamsBatch | None = None

    def __post_init__(self) -> None:
        assert len(self.bodies) == len(self.cost)
        assert self.regnets is None or len(self.regnets) == len(self.bodies)

    @staticmethod
    def of(models: Sequence[Model]) -> "Population":
        """Make a population of single models.

        Raises:
            InputError: There are none, two are equal, or they differ in block, input, stem, classes
                or the strides of the stages that they have.
        """
        if not models:
            raise InputError("models is empty; give at least one", "models")
        first, seen = max(models, key=lambda model: model.body.num_stages), dict[Body, str]()
        for model in models:
            if model.skeleton != first.skeleton.with_stages(model.body.num_stages):
                raise InputError(
                    f"{model.name} and {first.name} differ in input, stem, strides or classes: "
                    f"{model.skeleton.to_dict()} and {first.skeleton.to_dict()}; "
                    "one recipe can't train both"
                )
            if model.body.block != first.body.block:
                raise InputError(
                    f"{model.name} is made of {model.body.block} blocks and {first.name} of "
                    f"{first.body.block} blocks; a population has one kind"
                )
            if model.body in seen:
                raise InputError(f"{model.name} and {seen[model.body]} are the same network")
            seen[model.body] = model.name
        bodies = BodyBatch.from_bodies([model.body for model in models])
        regnets = [model.regnet for model in models if model.regnet is not None]
        return Population(
            skeleton=first.skeleton,
            bodies=bodies,
            cost=cost(bodies, first.skeleton),
            regnets=RegNetParamsBatch.from_list(regnets) if len(regnets) == len(models) else None,
        )

    def __len__(self) -> int:
        return len(self.bodies)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Content hash of each model's body."""
        return tuple(body.id for body in self.iter_bodies())

    def iter_bodies(self) -> Iterator[Body]:
        """Yield each model's body."""
        return (self.bodies.body(i) for i in range(len(self)))

    def regnet(self, i: int) -> RegNetParams | None:
        """Return the RegNet parameters of model i, if the space has any."""
        return None if self.regnets is None else self.regnets.regnet(i)

    def model(self, i: int, name: str | None = None) -> Model:
        """Return model i as a whole network."""
        body = self.bodies.body(i)
        around = self.skeleton.with_stages(body.num_stages)
        return Model(name or f"model-{i}", body, around, self.regnet(i))

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield each model as plain data, as in population.jsonl."""
        for i, body in enumerate(self.iter_bodies()):
            record = {
                "id": self.ids[i],
                "index": i,
                "arch": body.to_dict(),
                "flops": int(self.cost.flops[i]),
                "params": int(self.cost.params[i]),
                "acts": int(self.cost.acts[i]),
            }
            regnet = self.regnet(i)
            yield record if regnet is None else {**record, "regnet": regnet.to_dict()}
