"""The picture drawn from changed rows against OpenCV on whole screens."""

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.atari_game import AtariGame
from envs.atari_picture import SIZE, Screens, area_taps
from envs.protocol import PROTOCOLS


def whole(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return cv2.resize(np.maximum(first, second), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("length", [160, 210, 250])
def test_taps_cover_every_pixel_evenly(length: int) -> None:
    taps = area_taps(length)
    share = np.zeros(length)
    np.add.at(share, taps.pixel, taps.weight)
    np.testing.assert_allclose(taps.weight.sum(0), 1, rtol=1e-6)
    np.testing.assert_allclose(share, SIZE / length, rtol=1e-5)


@given(
    height=st.sampled_from([210, 250]),
    colours=st.sampled_from([2, 5, 256]),
    rows=st.lists(st.integers(0, 209), max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_redrawing_what_changed_equals_drawing_all(
    height: int, colours: int, rows: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, 256).astype(np.uint8)
    screens, out = Screens(height, 160), np.zeros((SIZE, SIZE), np.uint8)
    frames = rng.integers(0, colours, (2, height, 160)).astype(np.uint8)
    for turn in range(3):
        if turn:
            frames = frames.copy()
            frames[rng.integers(2), rows] = rng.integers(0, colours, (len(rows), 160))
        for i in (0, 1):
            screens.spare[i] = frames[i]
            if not screens.look(i):
                assert screens.look(i, palette[frames[i]])
        screens.turn()
        screens.draw(out)
        np.testing.assert_array_equal(out, whole(*palette[frames]))


def test_a_third_frame_joins_the_maximum() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 210, 160)).astype(np.uint8)
    screens, out = Screens(210, 160), np.zeros((SIZE, SIZE), np.uint8)
    for i in (0, 1):
        screens.spare[i] = frames[i]
        screens.look(i, frames[i])
    screens.turn()
    screens.draw_whole(out, frames[2])
    np.testing.assert_array_equal(out, whole(np.maximum(frames[0], frames[1]), frames[2]))


class Watched(AtariGame):
    """Keeps the emulator's own grey screens beside the codes."""

    def _look(self, frame: int) -> None:
        super()._look(frame)
        grey = np.empty(self._ale.getScreenDims(), np.uint8)
        self._ale.getScreenGrayscale(grey)
        self.grey = {**getattr(self, "grey", {}), frame % 2: grey}


@pytest.mark.parametrize(
    "name", ["pong", "asteroids", "montezuma_revenge", "air_raid", "riverraid", "elevator_action"]
)
def test_games_look_as_the_emulators_grey_screens_do(name: str) -> None:
    game = Watched(name, PROTOCOLS["baselines"])
    game.reset(1, 0)
    rng = np.random.default_rng(0)
    for _ in range(300):
        ended = game.step(int(rng.integers(len(game.actions)))).terminated
        np.testing.assert_array_equal(game.frame, whole(game.grey[0], game.grey[1]), err_msg=str(ended))


class Spied(AtariGame):
    """Keeps every screen that a decision's frames leave."""

    greys: list[np.ndarray]

    def _hold(self, action: int) -> Any:
        emulator, game = self._ale, self

        class Spy:
            def act(self, executed: Any) -> Any:
                reward = emulator.act(executed)
                grey = np.empty(emulator.getScreenDims(), np.uint8)
                emulator.getScreenGrayscale(grey)
                game.greys.append(grey)
                return reward

            def __getattr__(self, name: str) -> Any:
                return getattr(emulator, name)

        self.greys, self._ale = [], Spy()  # type: ignore[assignment]
        try:
            return super()._hold(action)
        finally:
            self._ale = emulator


@pytest.mark.parametrize("skip", [1, 2, 3, 5])
def test_a_picture_is_of_the_last_two_frames_whatever_the_skip(skip: int) -> None:
    game = Spied("pong", dataclasses.replace(PROTOCOLS["machado"], frame_skip=skip))
    game.reset(1, 0)
    rng = np.random.default_rng(0)
    for _ in range(150):
        game.step(int(rng.integers(6)))
        assert len(game.greys) == skip
        seen = np.max(game.greys[-2:], 0)
        np.testing.assert_array_equal(game.frame, whole(seen, seen))
