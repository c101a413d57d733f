"""What a sweep trains: variants, each a chain of recipes whose later stages start from the model of the one before.

A variants file is YAML:

    variants:
      NAME:
        - {recipe: minimer-pictures-sft, set: [model.prompt_style=brief_set]}
        - {recipe: minimer-pictures-rl, set: [rl.objective=emo_r3]}

Overrides of the command line come after a stage's own and go to every stage, except that `model.source` counts for the
first one alone. A stage has the sweep's seed unless its own `set` gives one. A key of the command line or of a recipe
does not hold for a stage that does not read it, such as rl.lambda_cali for the objective baseline, but some stage of
the sweep must; a stage reads every key of its own `set`. A beginning that several variants share is trained once a
seed: it lies under the name of the variant that is no more than it, or else under its recipe's name and a digest of its
recipes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mer_r1.errors import InputError
from mer_r1.recipe import Recipe, read_recipe_without_idle_keys
from mer_r1.yaml_text import read_yaml


class Stage(BaseModel):
    """A recipe, as `train` takes it, and the keys that are set in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    set: tuple[str, ...] = ()


Variants = Mapping[str, Sequence[Stage]]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    variants: dict[str, list[Stage]] = Field(min_length=1)


@dataclass(frozen=True)
class Run:
    """One training run of a sweep."""

    recipe: Recipe
    out: Path


@dataclass(frozen=True)
class Cell:
    """A variant with a seed: its runs in order, of which the last one predicts, and the given keys that none reads."""

    value: str
    seed: int
    runs: tuple[Run, ...]
    idle_keys: tuple[str, ...] = ()

    @property
    def out(self) -> Path:
        """The folder of the last run."""
        return self.runs[-1].out


def varied(source: str, vary: str) -> tuple[str, Variants]:
    """(key, variants) of one recipe with one key varied, written key=value,value,…"""
    key, equals, listed = vary.partition("=")
    values = [value.strip() for value in listed.split(",")]
    if not equals or not key or not all(values) or len(set(values)) < len(values):
        raise InputError(f"--vary {vary!r}: is written section.key=value,value with different values")
    if not all(map(_names_a_folder, values)):
        raise InputError(f"--vary {vary!r}: a value names a folder of the sweep, so it holds no slash")
    return key, {value: [Stage(recipe=source, set=(f"{key}={value}",))] for value in values}


def _names_a_folder(name: str) -> bool:
    return bool(name.strip()) and "/" not in name and name not in (".", "..")


def read_variants(source: str) -> Variants:
    """The variants of a file, or of one of the package's by name. Raises InputError: one line that names file and fix.

    The recipes that they name are read by `cells`.
    """
    folder = resources.files("mer_r1.recipes") / "variants"
    tree = read_yaml(source, folder, "variants", ", or --vary KEY=A,B for a recipe")
    try:
        variants = _File.model_validate(tree).variants
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise InputError(
            f"{source}: {where}: {problem['msg']}; write variants: {{NAME: [{{recipe: R, set: [key=value]}}]}}, "
            "or give --vary KEY=A,B with a recipe"
        ) from None
    for name, stages in variants.items():
        if not stages:
            raise InputError(f"{source}: variants.{name}: has no stages; give at least one recipe")
        if not _names_a_folder(name):
            raise InputError(f"{source}: variants.{name!r}: names a folder of the sweep, so it holds no slash")
    return variants


def cells(variants: Variants, overrides: Sequence[str], seeds: Sequence[int], out: Path) -> list[Cell]:
    """Every variant with every seed, its runs placed under `out`.

    Raises InputError for what a recipe rejects, for two variants that are the same, and for a key that no stage reads.
    """
    chains: dict[tuple[str, int], tuple[Recipe, ...]] = {}
    given: dict[str, str] = {}  # the keys that some stage does not read, with the reason
    for name, stages in variants.items():
        for seed in seeds:
            pairs = [_recipe(stage, overrides, seed, first=index == 0) for index, stage in enumerate(stages)]
            chains[name, seed] = tuple(recipe for recipe, _ in pairs)
            for _, idle in pairs:
                given |= idle
    for key, reason in given.items():
        if all(key in recipe.idle_keys() for chain in chains.values() for recipe in chain):
            raise InputError(f"{key} does nothing in this sweep: {reason}; remove it")
    whole: dict[str, tuple[str, int]] = {}
    for index, chain in chains.items():
        other = whole.setdefault(_texts(chain), index)
        if other[0] != index[0]:
            raise InputError(f"variants {other[0]} and {index[0]} are the same; remove one, or set a key in it")
    made = []
    for (name, seed), chain in chains.items():
        runs: list[Run] = []
        for length, recipe in enumerate(chain, 1):
            start = {"source": str(runs[-1].out)} if runs else {}
            model = recipe.model.model_copy(update=start)
            named = whole.get(_texts(chain[:length]))
            folder = f"{named[0]}/{named[1]}" if named else _shared(variants[name][length - 1], chain[:length])
            runs.append(Run(recipe.model_copy(update={"model": model}), out / folder))
        unread = tuple([key for key in given if all(key in recipe.idle_keys() for recipe in chain)])
        made.append(Cell(name, seed, tuple(runs), unread))
    return made


def _recipe(stage: Stage, overrides: Sequence[str], seed: int, first: bool) -> tuple[Recipe, dict[str, str]]:
    """A stage's recipe, and the keys given to it that it does not read, with the reasons.

    The recipe of a later stage is still without the model that it starts from.
    """
    recipe, idle = read_recipe_without_idle_keys(stage.recipe, [f"seed={seed}", *stage.set, *overrides])
    for assignment in stage.set:
        if (key := assignment.partition("=")[0]) in idle:
            raise InputError(f"{stage.recipe}: {assignment} does nothing: {idle[key]}; remove it from the variant")
    if not first:
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"source": ""})})
    return recipe, idle


def _texts(chain: Sequence[Recipe]) -> str:
    return "\n".join(recipe.as_yaml() for recipe in chain)


def _shared(last: Stage, chain: Sequence[Recipe]) -> str:
    """The folder of a beginning: equal but for their seeds, beginnings lie side by side."""
    seeds = [str(recipe.seed) for recipe in chain]
    unseeded = [recipe.model_copy(update={"seed": 0}) for recipe in chain]
    digest = hashlib.sha256(_texts(unseeded).encode()).hexdigest()[:8]
    return f"{Path(last.recipe).stem}-{digest}/{seeds[0] if len(set(seeds)) == 1 else '-'.join(seeds)}"
