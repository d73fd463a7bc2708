"""Every constant of the lane-battle world, with its unit. The rules read them from here and hold none of their own.

Units: one *map unit* is `UNIT` fixed-point steps; 30 ticks are one second; a decision lasts `TICKS_PER_DECISION`
ticks (7.5 decisions a second, as OpenAI Five's, arXiv 1912.06680). Everything is an integer.
"""

from __future__ import annotations

import numpy as np

RULES = 2
"""Number of these rules: one more whenever the same actions lead to another game or reward, so that a snapshot does not
go on under other rules without a word. 1 had no number in its snapshots."""

# --- time -----------------------------------------------------------------------------------------
TICKS_PER_SECOND = 30
TICKS_PER_DECISION = 4
REGEN_PERIOD = 60
"""Ticks between two regenerations of health and mana; like every period a multiple of a decision."""
INCOME_PERIOD = 20
"""Ticks for one gold of passive income."""
WAVE_PERIOD = 900
"""Ticks between creep waves."""
FIRST_WAVE = 300
"""Ticks until the first wave."""

# --- map ------------------------------------------------------------------------------------------
UNIT = 16
"""Fixed-point steps per map unit."""
MAP_SIZE = 6400
"""Side of the square map in map units. Team 0 lives at (0, 0), team 1 at (MAP_SIZE, MAP_SIZE); the river runs
between them along x + y = MAP_SIZE. Team 1 sees all reflected there: (x, y) -> (MAP_SIZE - y, MAP_SIZE - x)."""
RIVER_HALF_WIDTH = 400
"""|x + y - MAP_SIZE| in map units up to which a hero wades."""
RIVER_SPEED = 875
"""Thousandths of a hero's speed that are left in the river."""
FOUNTAIN = 400
"""x and y of team 0's fountain, where its heroes start, in map units."""
START_SCATTER = 100
"""Map units by which a hero's first place varies either way at randomness 1."""
BASE_RADIUS = 900
"""Distance from the fountain within which heroes are healed and may buy, in map units."""
LANES = 3
"""Most lanes; a world with one lane has the middle one only."""
LANE_CORNER = np.array([[3200, 3200], [700, 5700], [5700, 700]], np.int64)
"""[lane, (x, y)] where a lane (middle, top, bottom) crosses the river, in map units."""

# --- buildings ------------------------------------------------------------------------------------
TIERS = 2
"""Towers of a team in a lane; tier 0 stands nearest to the river and must fall first."""
TOWER_AT = np.array(
    [[[2500, 2500], [1700, 1700]], [[700, 3900], [700, 2200]], [[3900, 700], [2200, 700]]], np.int64
)
"""[lane, tier, (x, y)] of team 0's towers, in map units."""
ANCIENT_AT = 1000
"""x and y of team 0's ancient, in map units."""
BUILDING_HEALTH = np.array([1300, 1600, 2400], np.int64)
"""Health of tier 0, tier 1 and the ancient."""
TOWER_DAMAGE = 90
TOWER_RANGE = 650
"""Map units. The ancient does not shoot."""
TOWER_ATTACK_TICKS = 30
TOWER_GOLD = 120
"""To each hero of the other team when a tower falls, whoever struck last."""

# --- creeps ---------------------------------------------------------------------------------------
MELEE_PER_WAVE = 3
RANGED_PER_WAVE = 1
CREEPS_PER_LANE = 12
"""Most living creeps of a team in a lane; a wave fills only free places."""
CREEP_HEALTH = np.array([420, 260], np.int64)
"""Melee, ranged."""
CREEP_DAMAGE = np.array([20, 24], np.int64)
CREEP_RANGE = np.array([110, 500], np.int64)
"""Map units."""
CREEP_ATTACK_TICKS = 30
CREEP_SPEED = 300
"""Map units a second."""
CREEP_SIGHT = 550
"""Map units within which a creep turns on an enemy."""
CREEP_GOLD = 40
"""For the last hit on an enemy creep."""
CREEP_XP = np.array([60, 70], np.int64)
"""Shared by the living enemy heroes within XP_RADIUS."""
CREEP_SCATTER = 60
"""Map units by which a creep's starting place varies either way at randomness 1."""
WAYPOINT_RADIUS = 80
"""A creep counts as having crossed the river from x + y = MAP_SIZE - WAYPOINT_RADIUS on, in map units."""
DENY_SHARE = 500
"""Thousandths of its health below which an own creep may be struck."""
DENY_XP = 500
"""Thousandths of a denied creep's experience that the enemy still gets."""

# --- heroes ---------------------------------------------------------------------------------------
HERO_NAMES = ("guardian", "duelist", "ranger", "mage", "cleric")
HERO_KINDS = 5
(
    HEALTH_BASE,
    HEALTH_PER_LEVEL,
    MANA_BASE,
    MANA_PER_LEVEL,
    DAMAGE_BASE,
    DAMAGE_PER_LEVEL,
    ATTACK_RANGE,
    ATTACK_TICKS,
    SPEED,
    HEALTH_REGEN,
    MANA_REGEN,
) = range(11)
HERO_STATS = np.array(
    [  # health, per level, mana, per level, damage, per level, range, ticks per attack, units/s, regen per period
        [720, 70, 240, 20, 44, 4, 150, 42, 290, 5, 3],
        [620, 55, 220, 18, 52, 5, 150, 36, 320, 4, 3],
        [500, 40, 240, 20, 46, 5, 600, 38, 300, 3, 3],
        [480, 38, 340, 32, 42, 3, 550, 44, 290, 3, 6],
        [520, 42, 320, 30, 40, 3, 550, 44, 295, 3, 5],
    ],
    np.int64,
)
ABILITIES = 3
"""Ability 1 damages and ability 2 disables an enemy hero or creep; ability 3 helps a hero of the own team."""
(
    ABILITY_DAMAGE,
    ABILITY_DAMAGE_PER_LEVEL,
    ABILITY_RADIUS,
    ABILITY_STUN,
    ABILITY_SLOW,
    ABILITY_HEAL,
    ABILITY_HEAL_PER_LEVEL,
    ABILITY_SHIELD,
    ABILITY_SHIELD_PER_LEVEL,
    ABILITY_RANGE,
    ABILITY_COOLDOWN,
    ABILITY_MANA,
    ABILITY_UNLOCK,
) = range(13)
HERO_ABILITIES = np.array(
    [  # damage, per level, radius, stun, slow ticks, heal, per level, shield, per level, range, cooldown, mana, level
        [
            [70, 12, 250, 0, 0, 0, 0, 0, 0, 250, 240, 60, 1],
            [20, 4, 0, 45, 0, 0, 0, 0, 0, 250, 420, 80, 2],
            [0, 0, 0, 0, 0, 0, 0, 120, 20, 600, 540, 70, 3],
        ],
        [
            [90, 15, 0, 0, 0, 0, 0, 0, 0, 200, 210, 60, 1],
            [30, 5, 0, 0, 90, 0, 0, 0, 0, 350, 300, 60, 2],
            [0, 0, 0, 0, 0, 60, 12, 0, 0, 0, 480, 70, 3],
        ],
        [
            [60, 10, 200, 0, 0, 0, 0, 0, 0, 700, 270, 70, 1],
            [10, 2, 0, 0, 75, 0, 0, 0, 0, 600, 360, 60, 2],
            [0, 0, 0, 0, 0, 0, 0, 80, 12, 0, 600, 60, 3],
        ],
        [
            [110, 18, 0, 0, 0, 0, 0, 0, 0, 650, 240, 90, 1],
            [20, 4, 0, 36, 0, 0, 0, 0, 0, 600, 420, 90, 2],
            [0, 0, 0, 0, 0, 0, 0, 90, 14, 500, 600, 90, 3],
        ],
        [
            [70, 10, 0, 0, 0, 0, 0, 0, 0, 600, 240, 70, 1],
            [20, 5, 0, 0, 60, 0, 0, 0, 0, 600, 360, 70, 2],
            [0, 0, 0, 0, 0, 110, 18, 0, 0, 700, 360, 80, 3],
        ],
    ],
    np.int64,
)
"""[hero, ability, column]; ranges and radii in map units, times in ticks. Radius 0 strikes the target alone."""
SLOW_SPEED = 500
"""Thousandths of its speed that a slowed unit keeps."""
SHIELD_TICKS = 240
"""A shield is gone after this many ticks."""
DAMAGE_SPREAD = 200
"""Thousandths by which an attack's damage varies either way at randomness 1; uniform."""

XP_AT_LEVEL = np.array([0, 200, 500, 900, 1400, 2000, 2700, 3500, 4400, 5400, 6500, 7700], np.int64)
"""Experience at which level 1, 2, … begins."""
MAX_LEVEL = 12
XP_RADIUS = 1200
"""Map units."""
HERO_XP = 100
HERO_XP_PER_LEVEL = 50
"""Experience in a killed hero: HERO_XP + level * HERO_XP_PER_LEVEL."""
HERO_GOLD = 200
"""To the hero whose blow killed a hero."""
START_GOLD = 200
RESPAWN_BASE = 150
RESPAWN_PER_LEVEL = 60
"""Ticks until a hero of level n is back: RESPAWN_BASE + n * RESPAWN_PER_LEVEL."""
RECALL_TICKS = 88
"""Ticks a hero must stand unhurt to be moved to its fountain."""
BASE_REGEN = 80
"""Thousandths of health and mana that a hero near its fountain regains per REGEN_PERIOD."""

# --- shop -----------------------------------------------------------------------------------------
ITEM_NAMES = ("blade", "vest", "boots")
ITEMS_SOLD = 3
BLADE, VEST, BOOTS = range(3)
ITEM_PRICE = np.array([450, 450, 400], np.int64)
"""Gold."""
ITEM_LIMIT = np.array([4, 4, 1], np.int64)
"""Pieces a hero can carry."""
BLADE_DAMAGE = 16
VEST_HEALTH = 160
BOOTS_SPEED = 45
"""Map units a second."""

# --- sight ----------------------------------------------------------------------------------------
HERO_VISION = 1200
CREEP_VISION = 700
BUILDING_VISION = 1000
"""Map units; buildings themselves are always seen."""

# --- actions --------------------------------------------------------------------------------------
KIND_NAMES = (
    "continue",
    "move",
    "attack",
    "ability_1",
    "ability_2",
    "ability_3",
    "buy_blade",
    "buy_vest",
    "buy_boots",
    "recall",
)
CONTINUE, MOVE, ATTACK, ABILITY_1, ABILITY_2, ABILITY_3, BUY_BLADE, BUY_VEST, BUY_BOOTS, RECALL = range(10)
KINDS = 10
FIRST_TARGETED, TARGETED_KINDS = ATTACK, 4
"""Kinds ATTACK … ABILITY_3 use the target part of the action."""
DIRECTIONS = 8
DIRECTION = np.array(
    [[256, 0], [181, 181], [0, 256], [-181, 181], [-256, 0], [-181, -181], [0, -256], [181, -181]], np.int64
)
"""[direction, (x, y)] in 1/256, counter-clockwise from +x, in the frame of the hero's own team."""

# --- reward (arXiv 1912.06680, table 6, in kind), in 1/REWARD_UNIT ---------------------------------
REWARD_UNIT = 100_000
WIN_REWARD = 500_000
"""Times the score (see `world.score`), at the end."""
XP_REWARD = 200
"""Per point of experience."""
GOLD_REWARD = 600
"""Per gold gained."""
SPEND_REWARD = 60
"""Per gold spent."""
HEALTH_REWARD = 200
"""Per thousandth of its health that a hero gains or loses."""
MANA_REWARD = 75
"""Per thousandth of its mana."""
DEATH_REWARD = -100_000
KILL_REWARD = -60_000
"""Where everything is rewarded. Negative, as published: a kill also brings gold and experience."""
KILL_OBJECTIVE = 60_000
"""Where only objectives are, and neither gold nor experience: positive, so that the killer itself gains by a kill,
however many share in the victim's DEATH_REWARD."""
LAST_HIT_REWARD = -16_000
DENY_REWARD = 15_000
BUILDING_REWARD = np.array([225, 300, 500], np.int64)
"""Per thousandth of an enemy tower's (tier 0, 1) or ancient's health destroyed, to every hero of the team; two
thirds of it come this way, one third when the building falls."""
BUILDING_FALL = 333
"""Thousandths of a building's reward that are paid when it falls."""
MAX_OBS = 32767
"""Largest number an observation can hold."""
SHARE = 1000
"""Thousandths in a whole: team spirit, randomness, shares of health."""
