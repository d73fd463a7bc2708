"""A world to set up by hand: plain Python rules over memoryviews, so that a number too large for its array raises."""

import numpy as np
import pytest

from envs.moba import settings as s
from envs.moba import state as st
from envs.moba.compile import plain
from envs.moba.options import parse


class HandWorld:
    """One world; places in map units of the whole map, slots and heroes as in `envs.moba.state`."""

    def __init__(self, name="1v1", seed=0, world=0, **options):
        options = {"randomness": 0.0, "hero_pool": "ranger", "fog": False, **options}
        self.options = parse(name, options)
        self.layout, self.rules = self.options.layout, plain()
        self.arrays = {key: np.zeros(shape, dtype) for key, (shape, dtype) in st.shapes(self.options).items()}
        both = 2 * self.options.heroes
        self.arrays["obs"] = np.zeros((both, self.layout.size), np.int16)
        self.arrays["reward"] = np.zeros(both, np.int64)
        self.arrays["actions"] = np.zeros((both, 3), np.int64)
        self.arrays["knobs"] = np.array(st.knobs_of(self.options), np.int64)
        for key, array in self.arrays.items():
            setattr(self, key, memoryview(array))
        self.game[st.SEED_LOW], self.game[st.WORLD] = seed, world
        self.half = self.knobs[st.HALF]
        self.restart()

    def restart(self):
        self.rules.start_world(*self._state(), self.rows, self.obs)

    def _state(self):
        return self.units, self.heroes, self.game, self.knobs

    def step(self, actions=None, decisions=1):
        """`actions` {hero: (kind, target row, direction)} for the first decision, "continue" for all others."""
        for decision in range(decisions):
            self.arrays["actions"][:] = 0
            for hero, action in (actions or {}).items() if decision == 0 else ():
                self.arrays["actions"][hero] = action
            self.rules.step_world(*self._state(), self.rows, self.actions, self.obs, self.reward)

    def look(self):
        """Vision and observations as a decision's end would make them."""
        self.rules.look(self.units, self.knobs)
        self.rules.observe(*self._state(), self.rows, self.obs)

    def put(self, slot, x, y):
        self.units[st.X, slot], self.units[st.Y, slot] = x * s.UNIT, y * s.UNIT

    def at(self, slot):
        return self.units[st.X, slot] / s.UNIT, self.units[st.Y, slot] / s.UNIT

    def creep(self, team, number, x, y, kind=0, health=None):
        """A creep on the middle lane; returns its slot."""
        slot = team * self.half + self.options.heroes + number
        self.rules.spawn_creep(self.units, self.game, self.knobs, slot, 0, kind)
        self.put(slot, x, y)
        if health is not None:
            self.units[st.HEALTH, slot] = health
        return slot

    def building(self, team, number):
        """Slot of a building: towers lane by lane, outer first; -1 is the ancient."""
        first = team * self.half + self.options.heroes + self.knobs[st.CREEPS]
        return first + number % self.knobs[st.BUILDINGS]

    def row(self, hero, slot):
        """The target number under which `hero` sees `slot`; raises ValueError if it does not."""
        return list(self.arrays["rows"][hero, : self.layout.targets]).index(slot)

    def mask(self, hero, block):
        return self.layout.rows(self.arrays["obs"][hero], block)

    def seen(self, hero, block, row, feature):
        block_ = self.layout.blocks[block]
        return int(self.layout.rows(self.arrays["obs"][hero], block)[row, block_.column(feature)])


@pytest.fixture
def hand_world():
    """Makes a HandWorld: no randomness, no fog, rangers only, unless told otherwise."""
    return HandWorld
