"""One Atari game under a protocol: the rules of an agent's decision in reading order, on one ale-py emulator.

Plain NumPy and no torch: this runs inside worker processes. It is also the slow twin of the batch in tests.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ale_py import Action, ALEInterface, ALEState, LoggerMode, roms

from envs.atari_picture import SIZE, Screens
from envs.protocol import Protocol

NOOP, FIRE = 0, 1
_MAX_STARTS = 100


class GameError(ValueError):
    """A game can't be played; one line."""


class Outcome(NamedTuple):
    """What one decision brought."""

    reward: float
    """Reward to learn from."""
    terminated: bool
    truncated: bool
    score: float
    """Unclipped return of the full game that ended in this decision, NaN if none did."""
    length: float
    """Decisions in that game, NaN likewise."""


def _rom(name: str) -> Path:
    path = roms.get_rom_path(name)
    if path is None:
        raise GameError(f"ale-py has no game {name!r}")
    return path


def atari_games() -> list[str]:
    """Names of all games in the installed ale-py wheel that load as single-player games."""
    return [name for name in sorted(roms.get_all_rom_ids()) if ALEInterface.isSupportedROM(_rom(name))]


def check_game(name: str) -> None:
    """Raise GameError, with the nearest names, unless `name` is a playable game."""
    games = atari_games()
    if name not in games:
        near = difflib.get_close_matches(name, games, n=3, cutoff=0.4)
        raise GameError(
            f"there is no Atari game {name!r}"
            + (f"; did you mean {', '.join(near)}?" if near else "")
            + " ('rl-gns envs' lists all)"
        )


class AtariGame:
    """One game. `frame` holds the newest 84x84 grey picture; `final` that of an episode's end.

    All randomness comes from PCG64 seeded with (seed, index), so a game is the same wherever it is played.
    """

    def __init__(
        self,
        name: str,
        protocol: Protocol,
        frame: np.ndarray | None = None,
        final: np.ndarray | None = None,
    ) -> None:
        self.protocol = protocol
        self.frame = np.zeros((SIZE, SIZE), np.uint8) if frame is None else frame
        self.final = np.zeros((SIZE, SIZE), np.uint8) if final is None else final
        self._name = name
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self._ale = ALEInterface()
        # We draw sticky actions ourselves: the emulator's snapshot leaves out the action it would repeat.
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("random_seed", 0)
        self._ale.loadROM(_rom(name))
        self._fresh = self._ale.cloneState(include_rng=True)
        actions = (
            self._ale.getLegalActionSet() if protocol.full_action_set else self._ale.getMinimalActionSet()
        )
        self.actions = list(actions)
        self._noop = self._ale.getLegalActionSet()[NOOP]
        fire = self._ale.getLegalActionSet()[FIRE]
        self._start_actions = (
            (fire, self.actions[2]) if protocol.fire_on_reset and fire in self.actions else ()
        )
        height, width = self._ale.getScreenDims()
        self._screens = Screens(height, width)
        self._rng = np.random.Generator(np.random.PCG64(0))
        self._lives = self._frames = self._decisions = 0
        self._score = 0.0
        self._scored = True
        self._held = self._noop
        self._unpaired: np.ndarray | None = None

    def reset(self, seed: int, index: int) -> None:
        """Start the stream of environment `index` under `seed`, then take the random decisions of `start_spread`."""
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(index,))))
        # As after loading the cartridge, which would take 90 ms: some games remember what was played before a reset.
        self._ale.reset_game()
        self._ale.restoreState(self._fresh)
        self._begin()
        for _ in range(
            int(self._rng.integers(self.protocol.start_spread + 1)) if self.protocol.start_spread else 0
        ):
            self.step(int(self._rng.integers(len(self.actions))))
            self._scored = False  # a game partly played at random is no score of the policy's
        self._screens.draw_whole(self.frame)

    def step(self, action: int) -> Outcome:
        """Hold `action` for frame_skip frames; where an episode ends, go on to the start of the next one."""
        if not 0 <= action < len(self.actions):
            raise IndexError(f"action {action} is not one of the {len(self.actions)} there are")
        raw, life_lost, over = self._hold(self.actions[action])
        self._decisions += 1
        score = length = float("nan")
        truncated = not over and self._frames >= self.protocol.max_frames
        terminated = over or (life_lost and self.protocol.life_ends_episode and not truncated)
        if terminated or truncated:
            self._screens.draw_whole(self.final, self._unpaired)
            if not (over or truncated):
                over = self._go_on()
            if over or truncated:
                if self._scored:
                    score, length = self._score, float(self._decisions)
                self._begin()
        self._screens.draw(self.frame)
        return Outcome(
            float(np.sign(raw)) if self.protocol.clip_reward else raw, terminated, truncated, score, length
        )

    def _hold(self, action: Any) -> tuple[float, bool, bool]:
        """Act for frame_skip frames. Returns raw reward, whether a life (not the last) was lost, game over."""
        ale, screens, skip, sticky = self._ale, self._screens, self.protocol.frame_skip, self.protocol.sticky
        self._unpaired = None
        raw = 0.0
        over = False
        for frame in range(skip):
            if not sticky or self._rng.random() >= sticky:
                self._held = action
            raw += ale.act(self._held)
            self._frames += 1
            over = ale.game_over(with_truncation=False)
            if over:  # what has been pooled so far is the last picture, as in ale-py's own vector environment
                self._unpaired = screens.spare[0] if 0 < frame == skip - 1 else None
                break
            if frame >= skip - 2:
                self._look(frame - skip)
        else:
            if skip == 1:
                screens.spare[0] = screens.spare[1]
                screens.look(0)
            screens.turn()
        self._score += raw
        lives = ale.lives()
        life_lost = 0 < lives < self._lives
        self._lives = lives
        return raw, life_lost, over

    def _begin(self) -> None:
        """A new game: reset, no-ops, fire."""
        for _ in range(_MAX_STARTS):
            self._ale.reset_game()
            self._held = self._noop
            self._lives, self._frames, self._decisions = self._ale.lives(), 0, 0
            self._scored = True
            noops = int(self._rng.integers(1, self.protocol.noop_max + 1)) if self.protocol.noop_max else 0
            for _ in range(noops):
                self._ale.act(self._noop)
                self._frames += 1
            self._score = 0.0
            self._lives = self._ale.lives()
            self._look(0)
            self._look(1)
            self._unpaired = None
            self._screens.turn()
            if not self._ale.game_over(with_truncation=False) and not self._fire():
                return
        raise GameError(f"{self._name} is over before it starts, {_MAX_STARTS} times running")

    def _go_on(self) -> bool:
        """Wake the game up after a lost life: one no-op decision, then fire. Returns game over."""
        _, _, over = self._hold(self._noop)
        return over or self._fire()

    def _fire(self) -> bool:
        """Press the start actions; a life lost meanwhile costs a no-op. Returns game over."""
        for action in self._start_actions:
            _, life_lost, over = self._hold(action)
            if life_lost and not over:
                _, _, over = self._hold(self._noop)
            if over:
                return True
        return False

    def _look(self, frame: int) -> None:
        """Take the emulator's screen as spare frame 0 or 1 (or -2, -1)."""
        screen = self._screens.spare[frame]
        self._ale.getScreen(screen)
        if not self._screens.look(frame):
            grey = np.empty_like(screen)
            self._ale.getScreenGrayscale(grey)
            self._screens.look(frame, grey)

    def render(self) -> np.ndarray:
        """RGB [H, W, 3] uint8 of the emulator's screen."""
        return np.asarray(self._ale.getScreenRGB())

    def state(self) -> dict[str, Any]:
        """Everything: the emulator with its random numbers, our counters, our random numbers, the picture."""
        return {
            "emulator": self._ale.cloneState(include_rng=True).serialize(),
            "rng": self._rng.bit_generator.state,
            "held": self._held.value,
            "counters": (self._lives, self._frames, self._decisions, self._score, self._scored),
            "frame": self.frame.tobytes(),
            "screens": self._screens.state(),  # pooled into the next picture if the game ends
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        # The emulator keeps something of the last two frames that its snapshot leaves out: a game snapshotted k
        # frames after a reset goes on exactly only where min(k, 2) frames have passed since a reset.
        self._ale.reset_game()
        for _ in range(min(state["counters"][1], 2)):
            self._ale.act(self._noop)
        self._ale.restoreState(ALEState(state["emulator"]))
        self._rng.bit_generator.state = state["rng"]
        self._held = Action(state["held"])
        self._lives, self._frames, self._decisions, self._score, self._scored = state["counters"]
        self.frame[...] = np.frombuffer(state["frame"], np.uint8).reshape(SIZE, SIZE)
        self._screens.restore(state["screens"])
