"""Random numbers as a pure function of (seed, world, episode, tick, purpose, who): nothing to advance or to save.

Two rounds of a 32-bit integer hash with good avalanche (Wellons, hash-prospector: shifts 16, 15, 15). Its two
multipliers are below 2^31, so that no product leaves 63 bits and Python, CPU and GPU agree.
"""

from __future__ import annotations

from envs.moba.state import EPISODE, KEY_HIGH, KEY_LOW, SEED_HIGH, SEED_LOW, SIDE, TICK, WORLD, Line

WORD = 0xFFFFFFFF
# What a number is drawn for.
HERO_PICK, STRIKE, SCATTER_X, SCATTER_Y, START_X, START_Y, CUT = range(7)


def mix(word: int) -> int:
    """A bijection of 32-bit words."""
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & WORD
    word = ((word ^ (word >> 15)) * 0x735A2D97) & WORD
    return word ^ (word >> 15)


def set_keys(game: Line) -> None:
    """Keys of this episode of this world."""
    low = mix(mix(game[SEED_LOW]) ^ (game[WORLD] & WORD))
    game[KEY_LOW] = mix(low ^ (game[EPISODE] & WORD))
    high = mix(mix(game[SEED_HIGH] ^ 0x5BD1E995) ^ (game[EPISODE] & WORD))
    game[KEY_HIGH] = mix(high ^ mix(game[WORLD] & WORD))


def draw(game: Line, purpose: int, team: int, who: int, choices: int) -> int:
    """Uniform integer in [0, choices) for `who` (below 128) of `team` at this tick; choices < 2^31."""
    counter = ((game[TICK] * 8 + purpose) * 2 + (team ^ game[SIDE])) * 128 + who
    word = mix(mix((counter & WORD) ^ game[KEY_LOW]) ^ game[KEY_HIGH])
    return (word * choices) >> 32


def spread(game: Line, purpose: int, team: int, who: int, width: int) -> int:
    """Uniform integer in [-width, width]."""
    return draw(game, purpose, team, who, 2 * width + 1) - width
