"""How an Atari game is presented to a learner: the two protocols in common use, by name.

Only numbers and switches; no emulator and no tensors, so that worker processes can import it cheaply.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Preprocessing of one game. A frame is one raw emulator frame; a decision lasts `frame_skip` of them."""

    noop_max: int
    """A game starts with 1 … noop_max single-frame no-ops, drawn uniformly; 0 starts at once."""
    sticky: float
    """Probability per frame that the emulator repeats the previous action instead (Machado et al. 2018)."""
    fire_on_reset: bool
    """Press FIRE, then the game's third action, after every start and every lost life (OpenAI Baselines)."""
    life_ends_episode: bool
    """A lost life ends the episode for learning; the emulator is not reset, the score counts the full game."""
    clip_reward: bool
    """The reward to learn from is the sign of the raw reward."""
    full_action_set: bool
    """All 18 actions instead of the game's own minimal set."""
    frame_skip: int = 4
    """Frames an action is held; the picture is the maximum of the last two."""
    max_frames: int = 108_000
    """A game is cut off (truncated, not terminated) after this many frames: 30 minutes at 60 Hz."""
    start_spread: int = 0
    """Before the first rollout each environment takes 0 … start_spread uniformly random decisions."""


PROTOCOLS = {
    # OpenAI Baselines (2017-2018): what McCandlish et al. 2018 trained on.
    "baselines": Protocol(30, 0.0, True, True, True, False),
    # Sticky actions alone make it stochastic and a game is the episode (Machado et al. 2018), with the actions, frame
    # skip and time limit of Dopamine and of Gymnasium's v5; the paper has all 18 actions, a skip of 5, 18,000 frames.
    "machado": Protocol(0, 0.25, False, False, True, False),
}
