"""Scripted players, weakest first. They see what a learner sees, one observation, and nothing else.

- idle: stands at its fountain.
- random: any legal action, each kind as likely as another; no seed, see `choose_any`.
- laner: walks its lane behind its creeps, takes last hits and towers, buys, and goes home when hurt.
- bully: a laner who also uses its abilities and goes for a hero who has less health.

`decide` is a rule like those of the world: plain scalar Python, compiled with them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from envs.batched import EnvError
from envs.moba.chance import mix
from envs.moba.layout import NEAR_CREEPS, Layout
from envs.moba.settings import (
    ABILITY_1,
    ABILITY_2,
    ABILITY_3,
    ATTACK,
    BUY_BLADE,
    BUY_BOOTS,
    BUY_VEST,
    CONTINUE,
    DIRECTION,
    DIRECTIONS,
    FIRST_TARGETED,
    FOUNTAIN,
    KINDS,
    LANE_CORNER,
    MAP_SIZE,
    MOVE,
    RECALL,
    SHARE,
    TARGETED_KINDS,
    TIERS,
)
from envs.moba.state import (
    AT_DIRECTION,
    AT_GLOBAL,
    AT_KIND,
    AT_KIND_TARGET,
    BUILDING_WIDTH,
    BUILDINGS,
    CREEP_WIDTH,
    HERO_WIDTH,
    HEROES,
    LANES_USED,
    TARGETS,
    Grid,
    Line,
    layout_knobs,
)

OPPONENTS = ("idle", "random", "laner", "bully")
IDLE, RANDOM, LANER, BULLY = range(4)

_BLOCKS = Layout(1, 1).blocks
_HERO, _CREEP, _BUILDING, _GLOBAL = (
    _BLOCKS[name].column for name in ("self", "own_creeps", "own_buildings", "global")
)
H_DX, H_X, H_Y, H_HEALTH, H_MAX_HEALTH = (_HERO(f) for f in ("dx", "x", "y", "health", "max_health"))
H_DAMAGE = _HERO("damage")
C_DX, C_X, C_HEALTH, C_AIMS = (_CREEP(f) for f in ("dx", "x", "health", "aims_at_me"))
B_DX, B_X, B_VULNERABLE, B_REACHES, B_AIMS = (
    _BUILDING(f) for f in ("dx", "x", "vulnerable", "reaches", "aims_at_me")
)
G_CLOCK, G_BASE, G_SLOT = (_GLOBAL(f) for f in ("clock", "at_base", "slot_0"))
CHASE, SIEGE, SUPPORT, DANGER = 900, 1500, 700, 800
"""Map units: how far it goes for a creep or hero, and for a building; how near to it a creep must be to help; how near
an enemy hero is a threat."""
HURT_SHARE, HEALED_SHARE = 300, 900
"""Thousandths of its health below which it goes home, and from which it leaves again."""


def decide(script: int, knobs: Line, obs: Grid, i: int, actions: Grid) -> None:
    """Write the action of `script` (its place in OPPONENTS) for observation i into actions[i]."""
    actions[i, 0] = CONTINUE
    actions[i, 1] = 0
    actions[i, 2] = 0
    if script == IDLE or obs[i, knobs[AT_KIND] + MOVE] == 0:
        return
    if script == RANDOM:
        choose_any(knobs, obs, i, actions)
    else:
        play_lane(knobs, obs, i, actions, script == BULLY)


def choose_any(knobs: Line, obs: Grid, i: int, actions: Grid) -> None:
    """A legal kind, a target legal for it and a legal direction, by a hash of clock, place, health and slot.

    An observation tells neither seed nor world: heroes that stand alike in two worlds do the same there.
    """
    word = mix(obs[i, knobs[AT_GLOBAL] + G_CLOCK])
    word ^= (obs[i, H_X] * 8192 + obs[i, H_Y]) ^ (obs[i, H_HEALTH] << 16)
    for slot in range(1, knobs[HEROES]):  # heroes of a team that stand alike differ
        word ^= obs[i, knobs[AT_GLOBAL] + G_SLOT + slot] * (slot << 28)
    word = mix(word)
    kind = pick(obs, i, knobs[AT_KIND], KINDS, word)
    actions[i, 0] = kind
    word = mix(word)
    if FIRST_TARGETED <= kind < FIRST_TARGETED + TARGETED_KINDS:
        exact = knobs[AT_KIND_TARGET] + (kind - FIRST_TARGETED) * knobs[TARGETS]
        actions[i, 1] = pick(obs, i, exact, knobs[TARGETS], word)
    actions[i, 2] = pick(obs, i, knobs[AT_DIRECTION], DIRECTIONS, mix(word))


def pick(obs: Grid, i: int, start: int, count: int, word: int) -> int:
    """One of the choices whose mask is 1, evenly by a 32-bit word."""
    legal = 0
    for choice in range(count):
        legal += obs[i, start + choice]
    skip = (word * legal) >> 32
    for choice in range(count):
        if obs[i, start + choice] == 1:
            if skip == 0:
                return choice
            skip -= 1
    return 0


def play_lane(knobs: Line, obs: Grid, i: int, actions: Grid, bold: bool) -> None:
    """The laner's day: shop, go home when hurt, keep out of a tower's reach, strike, else walk up to the creeps."""
    kinds = knobs[AT_KIND]
    for item in (BUY_BOOTS, BUY_BLADE, BUY_VEST):
        if obs[i, kinds + item] == 1:
            actions[i, 0] = item
            return
    health = obs[i, H_HEALTH] * SHARE // obs[i, H_MAX_HEALTH]
    home = obs[i, knobs[AT_GLOBAL] + G_BASE] == 1
    if home and health < HEALED_SHARE:
        walk_to(knobs, obs, i, actions, FOUNTAIN, FOUNTAIN)
    elif bold and health < 2 * HURT_SHARE and obs[i, kinds + ABILITY_3] == 1:
        actions[i, 0] = ABILITY_3
    elif health < HURT_SHARE:
        go_home(knobs, obs, i, actions)
    elif under_fire(knobs, obs, i):
        walk_to(knobs, obs, i, actions, FOUNTAIN, FOUNTAIN)
    elif not (bold and harass(knobs, obs, i, actions)) and not strike_lane(knobs, obs, i, actions):
        walk_lane(knobs, obs, i, actions)


def square(x: int, y: int) -> int:
    """x² + y²."""
    return x * x + y * y


def walk_to(knobs: Line, obs: Grid, i: int, actions: Grid, x: int, y: int) -> None:
    """Move in the legal direction that points best to (x, y), map units in the own frame."""
    dx, dy = x - obs[i, H_X], y - obs[i, H_Y]
    actions[i, 0] = MOVE
    best = -(1 << 40)
    for direction in range(DIRECTIONS):
        along = dx * DIRECTION[direction, 0] + dy * DIRECTION[direction, 1]
        if obs[i, knobs[AT_DIRECTION] + direction] == 1 and along > best:
            best = along
            actions[i, 2] = direction


def go_home(knobs: Line, obs: Grid, i: int, actions: Grid) -> None:
    """Walk away from heroes and creeps that threaten, and recall when there are none."""
    count = knobs[HEROES]
    threats = 0
    for enemy in range(count):
        at = (count + enemy) * knobs[HERO_WIDTH]
        if obs[i, at] == 1 and square(obs[i, at + H_DX], obs[i, at + H_DX + 1]) < DANGER * DANGER:
            threats += 1
    at = 2 * count * knobs[HERO_WIDTH] + NEAR_CREEPS * knobs[CREEP_WIDTH]
    for _ in range(NEAR_CREEPS):
        threats += obs[i, at + C_AIMS]
        at += knobs[CREEP_WIDTH]
    if threats > 0 or under_fire(knobs, obs, i):
        walk_to(knobs, obs, i, actions, FOUNTAIN, FOUNTAIN)
    elif obs[i, knobs[AT_KIND] + RECALL] == 1:
        actions[i, 0] = RECALL


def building_creeps(knobs: Line, obs: Grid, i: int, building: int) -> int:
    """Own creeps within SUPPORT of the building whose row begins at `building`."""
    x, y = obs[i, building + B_X], obs[i, building + B_X + 1]
    at, near = 2 * knobs[HEROES] * knobs[HERO_WIDTH], 0
    for _ in range(NEAR_CREEPS):
        if obs[i, at] == 1 and square(obs[i, at + C_X] - x, obs[i, at + C_X + 1] - y) < SUPPORT * SUPPORT:
            near += 1
        at += knobs[CREEP_WIDTH]
    return near


def first_enemy_building(knobs: Line) -> int:
    """Where the enemy buildings' rows begin in an observation."""
    at = 2 * knobs[HEROES] * knobs[HERO_WIDTH] + 2 * NEAR_CREEPS * knobs[CREEP_WIDTH]
    return at + knobs[BUILDINGS] * knobs[BUILDING_WIDTH]


def under_fire(knobs: Line, obs: Grid, i: int) -> bool:
    """Whether an enemy tower aims at the hero, or reaches it while no own creep is there to take its shots."""
    at, fire = first_enemy_building(knobs), 0
    for _ in range(knobs[BUILDINGS]):
        if obs[i, at + B_AIMS] == 1 or (
            obs[i, at + B_REACHES] == 1 and building_creeps(knobs, obs, i, at) == 0
        ):
            fire += 1
        at += knobs[BUILDING_WIDTH]
    return fire > 0


def harass(knobs: Line, obs: Grid, i: int, actions: Grid) -> bool:
    """Spells on a hero in reach, and an attack on the weakest hero near who has less health; True if it acts."""
    count = knobs[HEROES]
    weakest, chosen = obs[i, H_HEALTH], -1
    for row in range(count, 2 * count):
        at = row * knobs[HERO_WIDTH]
        for kind in (ABILITY_1, ABILITY_2):
            if obs[i, knobs[AT_KIND_TARGET] + (kind - ATTACK) * knobs[TARGETS] + row] == 1:
                actions[i, 0] = kind
                actions[i, 1] = row
                return True
        near = square(obs[i, at + H_DX], obs[i, at + H_DX + 1]) < CHASE * CHASE
        if obs[i, at] == 1 and near and obs[i, at + H_HEALTH] < weakest:
            weakest, chosen = obs[i, at + H_HEALTH], row
    if chosen < 0:
        return False
    actions[i, 0] = ATTACK
    actions[i, 1] = chosen
    return True


def strike_lane(knobs: Line, obs: Grid, i: int, actions: Grid) -> bool:
    """Strike a creep that one blow kills, else a building that creeps assail, else the nearest creep; True if any."""
    first = 2 * knobs[HEROES] + NEAR_CREEPS
    at, nearest, killable = 2 * knobs[HEROES] * knobs[HERO_WIDTH] + NEAR_CREEPS * knobs[CREEP_WIDTH], -1, -1
    for row in range(first, first + NEAR_CREEPS):
        if obs[i, at] == 1 and square(obs[i, at + C_DX], obs[i, at + C_DX + 1]) < CHASE * CHASE:
            if nearest < 0:
                nearest = row
            if killable < 0 and obs[i, at + C_HEALTH] <= obs[i, H_DAMAGE]:
                killable = row
        at += knobs[CREEP_WIDTH]
    chosen = killable
    at = first_enemy_building(knobs)
    for building in range(knobs[BUILDINGS]):
        near = square(obs[i, at + B_DX], obs[i, at + B_DX + 1]) < SIEGE * SIEGE
        open_to_blows = obs[i, at + B_VULNERABLE] == 1 and building_creeps(knobs, obs, i, at) > 0
        if chosen < 0 and near and open_to_blows:
            chosen = first + NEAR_CREEPS + knobs[BUILDINGS] + building
        at += knobs[BUILDING_WIDTH]
    if chosen < 0:
        chosen = nearest
    if chosen < 0:
        return False
    actions[i, 0] = ATTACK
    actions[i, 1] = chosen
    return True


def walk_lane(knobs: Line, obs: Grid, i: int, actions: Grid) -> None:
    """Walk up to the own creep that is furthest ahead, else to the own lane's outer tower.

    Where that has fallen: in the middle lane to near the inner one, in the others to where they cross the river.
    """
    lane = 0
    for slot in range(knobs[HEROES]):
        if obs[i, knobs[AT_GLOBAL] + G_SLOT + slot] == 1 and knobs[LANES_USED] > 1:
            lane = 0 if slot == 0 else 1 + (slot - 1) % (knobs[LANES_USED] - 1)
    at, ahead, x, y = 2 * knobs[HEROES] * knobs[HERO_WIDTH], 0, 0, 0
    for _ in range(NEAR_CREEPS):
        cx, cy = obs[i, at + C_X], obs[i, at + C_X + 1]
        near = square(obs[i, at + C_DX], obs[i, at + C_DX + 1]) < 4 * CHASE * CHASE
        if obs[i, at] == 1 and near and cx + cy > ahead:
            ahead, x, y = cx + cy, cx, cy
        at += knobs[CREEP_WIDTH]
    if ahead == 0:
        at += NEAR_CREEPS * knobs[CREEP_WIDTH] + lane * TIERS * knobs[BUILDING_WIDTH]
        x, y = LANE_CORNER[lane, 0], LANE_CORNER[lane, 1]
        if lane == 0 and obs[i, at] == 0:
            x, y = MAP_SIZE // 4, MAP_SIZE // 4
        elif obs[i, at] == 1:
            x, y = obs[i, at + B_X], obs[i, at + B_X + 1]
    walk_to(knobs, obs, i, actions, x, y)


class Scripted:
    """A script as a policy: observations int16 [n, D] -> actions int64 [n, 3].

    name: one of OPPONENTS; layout: of the observations, as `MobaEnv.layout`. Raises EnvError for another name or
    for observations of another layout. It holds no state: any rows, in any order, at any time.
    """

    def __init__(self, name: str, layout: Layout) -> None:
        if name not in OPPONENTS:
            raise EnvError(f"there is no script {name!r}, only {', '.join(OPPONENTS)}")
        from envs.moba.compile import compiled

        self.name, self.layout = name, layout
        self._script = OPPONENTS.index(name)
        self._knobs = np.array(layout_knobs(layout), np.int64)
        self._play = compiled().play

    def __call__(self, obs: Tensor) -> Tensor:
        """Actions for observations [n, D], on their device."""
        if obs.ndim != 2 or obs.shape[1] != self.layout.size or obs.dtype != torch.int16:
            raise EnvError(
                f"script {self.name} takes int16 observations [n, {self.layout.size}], "
                f"got {str(obs.dtype).removeprefix('torch.')} {list(obs.shape)}"
            )
        if obs.is_cuda:
            return self._on_gpu(obs)
        actions = np.empty((len(obs), 3), np.int64)
        self._play(self._script, self._knobs, obs.contiguous().numpy(), actions, 0, len(obs))
        return torch.from_numpy(actions)

    def _on_gpu(self, obs: Tensor) -> Tensor:
        from envs.moba.cuda import kernels, launch

        actions = torch.empty((len(obs), 3), dtype=torch.int64, device=obs.device)
        knobs = torch.from_numpy(self._knobs).to(obs.device)
        launch(kernels().play, obs.device, len(obs), self._script, knobs, obs.contiguous(), actions)
        return actions
