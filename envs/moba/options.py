"""The knobs of a lane-battle world: names, ranges, defaults, and the one line that refuses a wrong one."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envs.batched import EnvError
from envs.moba import settings as s
from envs.moba.layout import MAX_HEROES, Layout

REWARDS = ("win", "objectives", "shaped")
"""Sparsest first."""
ILLEGAL = ("resolve", "raise")


@dataclass(frozen=True)
class Options:
    """What a user may set. Ranges are checked at construction; raises EnvError."""

    heroes: int
    """Per side, 1 to 5."""
    lanes: int
    """1 or 3."""
    game_length: float = 600.0
    """Seconds after which a game ends; then the buildings' health decides. 10 to 3600."""
    reward: str = "shaped"
    """"shaped" as OpenAI Five's in kind; "objectives": of that only kills, deaths, buildings and the end; "win": the
    score at the end and nothing else."""
    team_spirit: float = 0.3
    """0 to 1: share of its team's mean reward in a hero's own."""
    hero_pool: tuple[str, ...] = s.HERO_NAMES
    """Each hero of a game is drawn from these; also as one string, "mage,ranger"."""
    fog: bool = True
    """False: both teams see everything."""
    randomness: float = 1.0
    """0 to 1: scales the spread of attack damage and of the creeps' starting places; heroes are drawn anyway."""
    opponent: str = "none"
    """Script that plays team 1; "none": both teams are streams."""
    start_spread: int = 0
    """A world's first game is cut short by 0 … start_spread decisions, drawn by seed and world: worlds that start
    together are soon at different times of their games. The cut is a truncation, without a score. At most a game's
    length, rounded up: beyond it most games would be cut at their first decision, all at once."""
    illegal: str = "resolve"
    """What a masked-out action does: "resolve" (see `orders`) or "raise"."""
    first_world: int = 0
    """Number of the first world: processes that share a run play worlds of their own from the same seed."""
    threads: int = 0
    """CPU threads; 0: as many as this process may use. The results are the same."""

    def __post_init__(self) -> None:
        from envs.moba.opponents import OPPONENTS

        _within("heroes", self.heroes, 1, MAX_HEROES, whole=True)
        if type(self.lanes) is not int or self.lanes not in (1, s.LANES):
            raise EnvError(f"lanes must be 1 or {s.LANES}, got {self.lanes!r}")
        _within("game_length", self.game_length, 10, 3600)
        _within("team_spirit", self.team_spirit, 0, 1)
        _within("randomness", self.randomness, 0, 1)
        _within("threads", self.threads, 0, 1024, whole=True)
        _within("start_spread", self.start_spread, 0, 2**31 - 2, whole=True)
        longest = math.ceil(self.game_length * s.TICKS_PER_SECOND / s.TICKS_PER_DECISION)
        if self.start_spread > longest:
            raise EnvError(
                f"start_spread is at most a game's length, {longest} decisions here, got {self.start_spread}"
            )
        if not isinstance(self.fog, bool):
            raise EnvError(f"fog must be true or false, got {self.fog!r}")
        _within("first_world", self.first_world, 0, 2**31, whole=True)
        _one_of("reward", self.reward, REWARDS)
        _one_of("illegal", self.illegal, ILLEGAL)
        _one_of("opponent", self.opponent, ("none", *OPPONENTS))
        if not self.hero_pool:
            raise EnvError(f"hero_pool is empty; name some of {', '.join(s.HERO_NAMES)}")
        for i, name in enumerate(self.hero_pool):
            _one_of("hero_pool", name, s.HERO_NAMES)
            if name in self.hero_pool[:i]:
                raise EnvError(f"hero_pool names {name} twice; each of its heroes is as likely as another")

    @property
    def layout(self) -> Layout:
        """Of this world's observations."""
        return Layout(self.heroes, self.lanes)

    @property
    def decisions(self) -> int:
        """Longest game, in decisions."""
        return max(1, round(self.game_length * s.TICKS_PER_SECOND) // s.TICKS_PER_DECISION)


def _within(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    kind, word = (int, "whole number") if whole else (int | float, "number")
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        raise EnvError(f"{name} must be a {word} from {low} to {high}, got {value!r}")


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise EnvError(f"{name}: there is no {value!r}, only {', '.join(known)}{hint}")


def parse(name: str, given: dict[str, Any]) -> Options:
    """Options of world `name` ("1v1" … "5v5") with those `given`. Raises EnvError."""
    match = re.fullmatch(r"([1-5])v([1-5])", name)
    if match is None or match[1] != match[2]:
        raise EnvError(f"unknown world 'moba:{name}'; there are {', '.join(f'moba:{n}' for n in names())}")
    known = [field.name for field in dataclasses.fields(Options)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise EnvError(f"moba:{name} has no option {key!r}, only {', '.join(known)}{hint}")
    heroes = int(match[1])
    values = {"heroes": heroes, "lanes": 1 if given.get("heroes", heroes) == 1 else s.LANES, **given}
    pool = values.get("hero_pool", s.HERO_NAMES)
    if not isinstance(pool, (str, Sequence)):
        raise EnvError(f"hero_pool must be names of heroes, as 'mage,ranger', got {pool!r}")
    values["hero_pool"] = tuple(pool.split(",")) if isinstance(pool, str) else tuple(pool)
    return Options(**values)


def names() -> tuple[str, ...]:
    """Every NAME of `moba:NAME`."""
    return tuple(f"{n}v{n}" for n in range(1, MAX_HEROES + 1))
