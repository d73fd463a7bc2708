"""A study's file: what to sweep, until which goals, on which budget. It plans nothing and runs nothing.

title = "CartPole, two axes"    # optional: what its page is called
env = "gym:CartPole-v1"         # as for `rl-gns train`
algo = "a2c"
goals = [50, 100, 200]          # scores of full games, ascending; a run stops at the last
observations = 200_000          # budget of each run
updates = 20_000                # optional: a second budget; the smaller of the two holds
halflife = 5_000                # of the score's smoothing, in observations
start_score = 30                # optional: what came before this score is left out of noise-scale means
runs_of = ["../other"]          # optional: studies, from this folder, whose packed runs count here where ids agree
against = ["../blind"]          # optional: studies of the same env to compare with, at the goals and batches of both

[grid]
num_envs = [4, 16, 64, 256]     # or batch = [80, 320], in observations: every rollout length at equal batches
rollout = [5, 20]
learning_rate = "auto"          # or a list
seeds = [1, 2, 3]

[auto]                          # optional: centre ε*/(1 + B*/B)^a on a ladder, widened until the best is interior
rate = 7e-3                     # ε*
batch = 2_000                   # B*, in observations
exponent = 0.5                  # a
factor = 2                      # between neighbouring rates
points = 3                      # rates to begin with
most = 7                        # rates at most
patience = 1.5                  # optional: begin with one rate, and give any other up at so many times the
                                # observations that the best before it took to the last goal; the budget still holds
keep = 1.25                     # optional: the first seed alone tries them all; the others run those at which it
                                # needed at most so many times its best's updates, to any goal
seeds_first = true              # optional, with both: all seeds run a cell's first rate before other rates are tried

[correlation]                   # optional: repeat one cell measuring how alike the observations of a rollout are, to
every = 1                       # predict the two-axis map from it; in every so many updates
envs = 16                       # on so many environments

[train]                         # optional: any other setting of `rl-gns train`
gamma = 0.99
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_gns.errors import UserError
from rl_gns.studies import train_table
from rl_gns.training import config as configs
from rl_gns.training import kinds
from rl_gns.training.config import TrainConfig
from rl_gns.training.idle import refuse_idle

FILE_NAME = "study.toml"


@dataclasses.dataclass(frozen=True)
class Auto:
    """Ladder of learning rates around ε*/(1 + B*/B)^a (McCandlish et al. 2018, A.2)."""

    rate: float = 7e-3
    batch: float = 2_000.0
    exponent: float = 0.5
    factor: float = 2.0
    points: int = 3
    most: int = 7
    patience: float | None = None
    keep: float | None = None
    seeds_first: bool = False


@dataclasses.dataclass(frozen=True)
class CorrelationSpec:
    """How the correlation within rollouts is measured, see `plan.correlation_cell`."""

    every: int = 1
    envs: int = 16


@dataclasses.dataclass(frozen=True)
class StudySpec:
    """A checked study file."""

    env: str
    algo: Any
    """As in `TrainConfig`."""
    goals: tuple[float, ...]
    observations: float
    updates: float | None
    halflife: float
    start_score: float | None
    num_envs: tuple[int, ...] = dataclasses.field(metadata={"grid": "num_envs"})
    """Every count of environments, with `batch` those that make it up."""
    batch: tuple[int, ...] | None = dataclasses.field(metadata={"grid": "batch"})
    """Observations per update at every rollout length; None: every count meets every length."""
    rollout: tuple[int, ...] = dataclasses.field(metadata={"grid": "rollout"})
    learning_rates: tuple[float, ...] | None = dataclasses.field(metadata={"grid": "learning_rate"})
    """None: `auto` decides."""
    seeds: tuple[int, ...] = dataclasses.field(metadata={"grid": "seeds"})
    auto: Auto
    correlation: CorrelationSpec | None
    """None: not measured beside the grid."""
    train: dict[str, Any]
    title: str = ""
    runs_of: tuple[str, ...] = ()
    """Other studies' folders or files, from this one's folder: what they have packed need not be trained again."""
    against: tuple[str, ...] = ()
    """Other studies' folders or files: what their runs took to the same goals is said beside this one's."""

    @property
    def cells(self) -> list[tuple[int, int]]:
        """(environments, rollout) of every cell of the grid, ascending."""
        if self.batch is None:
            return list(itertools.product(self.num_envs, self.rollout))
        return sorted((batch // rollout, rollout) for batch in self.batch for rollout in self.rollout)

    @property
    def device(self) -> str:
        """Where the runs train: cpu unless [train] says otherwise."""
        return str(self.train.get("device", "cpu"))

    def budget(self, batch: int) -> float:
        """Observations of a run at most."""
        return self.observations if self.updates is None else min(self.observations, self.updates * batch)

    def config(self, num_envs: int, rollout: int, learning_rate: float, seed: int) -> TrainConfig:
        """Settings of one run. What the file leaves open: noise smoothed like the score but over 16 updates at least,
        four metric rows a half-life of it or 100 in all if that is more, 10 checkpoints."""
        key = (num_envs, rollout, learning_rate, seed)
        if key not in self._configs:
            self._configs[key] = self._config(*key)
        return self._configs[key]

    @functools.cached_property
    def _configs(self) -> dict[tuple[int, int, float, int], TrainConfig]:
        return {}  # a plan is made over and over, and asks for all of them each time

    def _config(self, num_envs: int, rollout: int, learning_rate: float, seed: int) -> TrainConfig:
        cell: dict[str, Any] = {"env": self.env, "algo": self.algo, "num_envs": num_envs, "rollout": rollout}
        asked = TrainConfig(**cell, **self.train)
        refuse_idle(asked)
        batch = configs.resolve(asked).batch
        budget = self.budget(batch)
        halflife = self.train.get("noise_halflife", max(self.halflife, 16.0 * batch))
        settings: dict[str, Any] = {
            "noise_halflife": halflife,
            "log_every": max(min(budget / 100, halflife / 4), batch),
            "checkpoint_every": max(budget / 10, batch),
            "tensorboard": False,
            "device": self.device,
            **self.train,
        }
        return configs.resolve(
            TrainConfig(
                **cell,
                observations=budget,
                learning_rate=learning_rate,
                seed=seed,
                stop_score=self.goals[-1],
                stop_halflife=self.halflife,
                **settings,
            )
        )


GRID: tuple[str, ...] = tuple(
    field.metadata["grid"] for field in dataclasses.fields(StudySpec) if "grid" in field.metadata
)
"""Keys of [grid]."""
TOP: tuple[str, ...] = (
    *(field.name for field in dataclasses.fields(StudySpec) if "grid" not in field.metadata),
    "grid",
)
"""Keys of the file's first level."""


def load(path: Path) -> StudySpec:
    """Read and check a study file.

    Raises:
        UserError: one line naming the file, the key and what it must be; an unknown key comes with the nearest name.
    """
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"the study file {path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"the study file {path} is no TOML: {error}") from None
    try:
        return parse(raw)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def parse(raw: Mapping[str, Any]) -> StudySpec:
    """Check what TOML gave. Raises UserError as `load`, without the file's name."""
    _known(raw, TOP, "")
    grid = _table(raw, "grid")
    _known(grid, GRID, "grid.")
    if "env" not in raw or not isinstance(raw["env"], str):
        raise UserError('env must name what to train on, e.g. env = "gym:CartPole-v1"')
    algo = raw.get("algo", "a2c")
    kinds.check(TrainConfig, {"algo": algo})
    goals = tuple(map(float, _numbers(raw, "goals", "")))
    if list(goals) != sorted(goals):
        raise UserError(f"goals must ascend, got {list(goals)}")
    rates = grid.get("learning_rate", "auto")
    if isinstance(rates, str) and rates != "auto":
        raise UserError(f'grid.learning_rate must be "auto" or a list of rates, got {rates!r}')
    observations = _number(raw, "observations", None)
    num_envs, rollout, batch = _sizes(grid)
    spec = StudySpec(
        env=raw["env"],
        algo=algo,
        goals=goals,
        observations=observations,
        updates=_number(raw, "updates", None) if "updates" in raw else None,
        halflife=_number(raw, "halflife", observations / 50),
        start_score=_number(raw, "start_score", None, positive=False) if "start_score" in raw else None,
        num_envs=num_envs,
        batch=batch,
        rollout=rollout,
        learning_rates=None
        if rates == "auto"
        else _positive(tuple(map(float, _numbers(grid, "learning_rate", "grid."))), "grid.learning_rate"),
        seeds=_counts(grid, "seeds", least=0),
        auto=_auto(_table(raw, "auto")),
        correlation=_correlation(raw, max(num_envs) if batch is None else max(batch) // max(rollout)),
        train=train_table.check(_table(raw, "train"), _known),
        title=_title(raw),
        runs_of=_paths(raw, "runs_of"),
        against=_paths(raw, "against"),
    )
    for name in ("patience", "keep"):
        if rates != "auto" and getattr(spec.auto, name) is not None:
            raise UserError(f'auto.{name} chooses among rates: it goes with grid.learning_rate = "auto" only')
    if spec.auto.patience is not None and spec.train.get("schedule", "constant") != "constant":
        raise UserError(
            "auto.patience cuts budgets, which train.schedule turns into other rates: leave one out"
        )
    for count, steps in spec.cells:
        try:
            spec.config(count, steps, 1e-3, spec.seeds[0])
        except UserError as error:
            raise UserError(f"the run with {count} environments x {steps}: {error}") from None
    return spec


def _title(raw: Mapping[str, Any]) -> str:
    title = raw.get("title", "")
    if not isinstance(title, str) or title != " ".join(title.split()) or ("title" in raw and not title):
        raise UserError(f"title must be one line of text, got {title!r}")
    return title


def _sizes(grid: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None]:
    """Environment counts, rollout lengths and, where the file gives those, batches."""
    rollout = _counts(grid, "rollout")
    if "batch" not in grid:
        return _counts(grid, "num_envs"), rollout, None
    if "num_envs" in grid:
        raise UserError("grid: give num_envs or batch, the other follows")
    batches = _counts(grid, "batch")
    for batch, steps in itertools.product(batches, rollout):
        if batch % steps:
            raise UserError(f"grid.batch: {batch} is no whole number of rollouts of {steps}")
    return tuple(sorted({batch // steps for batch in batches for steps in rollout})), rollout, batches


def _auto(raw: Mapping[str, Any]) -> Auto:
    names = [field.name for field in dataclasses.fields(Auto)]
    _known(raw, names, "auto.")
    default = Auto()
    values: dict[str, Any] = {
        name: _number(raw, name, getattr(default, name), "auto.")
        for name in names
        if name != "seeds_first" and (name in raw or getattr(default, name) is not None)
    }
    seeds_first = raw.get("seeds_first", False)
    if not isinstance(seeds_first, bool):
        raise UserError(f"auto.seeds_first must be true or false, got {seeds_first!r}")
    if seeds_first and not {"patience", "keep"} <= set(raw):
        raise UserError("auto.seeds_first goes with auto.patience, which has a first rate, and auto.keep")
    for name in ("points", "most"):
        if values[name] != int(values[name]):
            raise UserError(f"auto.{name} must be a whole number, got {values[name]:g}")
    auto = Auto(**values | {name: int(values[name]) for name in ("points", "most")}, seeds_first=seeds_first)
    if auto.factor <= 1:
        raise UserError(f"auto.factor must be above 1, got {auto.factor:g}")
    if not 1 <= auto.points <= auto.most:
        raise UserError(f"auto.points must be between 1 and auto.most={auto.most}, got {auto.points}")
    if auto.patience is not None and auto.patience < 1:
        raise UserError(
            f"auto.patience must be at least 1, got {auto.patience:g}: no other rate could be the best"
        )
    if auto.keep is not None and auto.keep < 1:
        raise UserError(
            f"auto.keep must be at least 1, got {auto.keep:g}: the best rate itself would be dropped"
        )
    return auto


def _correlation(raw: Mapping[str, Any], most_envs: int) -> CorrelationSpec | None:
    if "correlation" not in raw:
        return None
    table = _table(raw, "correlation")
    default = dataclasses.asdict(CorrelationSpec())
    _known(table, list(default), "correlation.")
    values = {name: _number(table, name, default[name], "correlation.") for name in default}
    for name, least in (("every", 1), ("envs", 2)):
        if values[name] != int(values[name]) or values[name] < least:
            raise UserError(
                f"correlation.{name} must be a whole number of at least {least}, got {values[name]:g}"
            )
    if most_envs < 2:
        raise UserError("[correlation] needs at least two environments: one rollout has no peer")
    return CorrelationSpec(int(values["every"]), int(values["envs"]))


def _known(raw: Mapping[str, Any], names: list[str] | tuple[str, ...], where: str) -> None:
    for key in raw:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
            raise UserError(f"unknown key {where + key!r}; {hint}")


def _table(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, Mapping):
        raise UserError(f"{key} must be a table [{key}], got {value!r}")
    return value


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(
    raw: Mapping[str, Any], key: str, default: float | None, where: str = "", positive: bool = True
) -> float:
    value = raw.get(key, default)
    if not _is_number(value) or (positive and not value > 0):
        kind = "a positive number" if positive else "a number"
        raise UserError(f"{where}{key} must be {kind}, got {_shown(value)}")
    return float(value)


def _numbers(raw: Mapping[str, Any], key: str, where: str) -> tuple[float, ...]:
    value = raw.get(key)
    if not isinstance(value, list) or not value or not all(map(_is_number, value)):
        raise UserError(f"{where}{key} must be a list of at least one number, got {_shown(value)}")
    if len(set(value)) < len(value):
        raise UserError(f"{where}{key} holds a value twice: {value}")
    return tuple(value)


def _paths(raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(path, str) and path for path in value):
        raise UserError(f'{key} must be a list of folders, e.g. ["../other"], got {value!r}')
    return tuple(value)


def _positive(values: tuple[float, ...], name: str) -> tuple[float, ...]:
    if min(values) <= 0:
        raise UserError(f"{name} must hold positive numbers, got {list(values)}")
    return values


def _counts(raw: Mapping[str, Any], key: str, least: int = 1) -> tuple[int, ...]:
    values = _numbers(raw, key, "grid.")
    if any(value != int(value) or value < least for value in values):
        raise UserError(f"grid.{key} must hold whole numbers of at least {least}, got {raw[key]}")
    return tuple(sorted(int(value) for value in values))
