"""The agent's picture of an Atari screen: the grey maximum of two frames, shrunk to 84x84 by area; changed rows only.

Most rows of most games stand still between two decisions, so a picture is mostly the one before. It equals, byte
for byte, OpenCV's `resize(..., INTER_AREA)` of the maximum of the emulator's own two grey screens; single-precision
sums are made in OpenCV's order, without fused multiply-add. OpenAI Baselines takes the maximum of the colours before it
makes them grey, which differs in few pixels and by little.

It knows nothing of games or protocols: screens come as the emulator's colour codes, one byte a pixel.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

SIZE = 84
UNKNOWN = np.float32(-1)
_IDENTITY = np.arange(256, dtype=np.float32)


def _compiled(function: Callable[..., Any]) -> Any:
    """`function` as machine code, kept for the next process where numba finds a folder it can write.

    As in `agents/optimizers.py`: neither package may know of the other.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither this one nor the user's cache: it is made anew
        return numba.njit(nogil=True)(function)


class Taps(NamedTuple):
    """Which pixels of one axis make each of the 84 shrunk ones, and with what weight."""

    pixel: np.ndarray
    """[k, 84] uint32 (unsigned spares the compiled loops a test for negative indices); padded with the last index."""
    weight: np.ndarray
    """[k, 84] float32; padded with 0."""


@functools.cache
def area_taps(length: int) -> Taps:
    """The share that each of `length` pixels has in each of 84 equal intervals (as OpenCV's INTER_AREA has it)."""
    scale = length / SIZE
    rows: list[list[tuple[int, float]]] = []
    for i in range(SIZE):
        start, stop = i * scale, (i + 1) * scale
        cell = min(scale, length - start)
        first, last = math.ceil(start), min(math.floor(stop), length - 1)
        taps = [(first - 1, (first - start) / cell)] if first - start > 1e-3 else []
        taps += [(k, 1 / cell) for k in range(first, last)]
        if stop - last > 1e-3:
            taps.append((last, min(stop - last, cell) / cell))
        rows.append(taps)
    width = max(map(len, rows))
    padded = [taps + [(taps[-1][0], 0.0)] * (width - len(taps)) for taps in rows]
    return Taps(
        np.array([[taps[j][0] for taps in padded] for j in range(width)], np.uint32),
        np.array([[taps[j][1] for taps in padded] for j in range(width)], np.float32),
    )


@_compiled
def mark_changes(
    new: np.ndarray, old: np.ndarray, grey: np.ndarray, changed: np.ndarray, everywhere: bool
) -> bool:
    """Set `changed[y]` where row y of two screens [H, W] differs, or everywhere.

    Returns whether `grey` has every colour of the rows set.
    """
    known = True
    for y in range(new.shape[0]):
        difference = np.uint8(0)
        for x in range(new.shape[1]):
            difference |= new[y, x] ^ old[y, x]
        if difference or everywhere:
            changed[y] = True
            for x in range(new.shape[1]):
                known &= grey[new[y, x]] >= 0
    return known


@_compiled
def shrink(
    first: np.ndarray,
    second: np.ndarray,
    grey: np.ndarray,
    changed: np.ndarray,
    across: Taps,
    down: Taps,
    out: np.ndarray,
) -> None:
    """Redraw the rows of `out` [84, 84] that a changed row of the two screens [H, W] has a part in.

    grey: [256] float32, the grey of a colour code. The maximum of two greys is the pixel that is shrunk.
    """
    height, width = first.shape
    pooled = np.empty(width, np.float32)
    shrunk = np.empty((height, SIZE), np.float32)
    done = np.zeros(height, np.bool_)
    for oy in range(SIZE):
        stale = False
        for k in range(down.pixel.shape[0]):
            stale |= changed[down.pixel[k, oy]]
        if not stale:
            continue
        total = np.zeros(SIZE, np.float32)
        for k in range(down.pixel.shape[0]):
            y = down.pixel[k, oy]
            row = shrunk[y]
            if not done[y]:
                done[y] = True
                a, b = first[y], second[y]
                for x in range(width):
                    pooled[x] = max(grey[a[x]], grey[b[x]])
                row[:] = 0
                for j in range(across.pixel.shape[0]):
                    for ox in range(SIZE):
                        row[ox] += pooled[across.pixel[j, ox]] * across.weight[j, ox]
            weight = down.weight[k, oy]
            for ox in range(SIZE):
                total[ox] += weight * row[ox]
        for ox in range(SIZE):
            out[oy, ox] = np.uint8(np.rint(total[ox]))


class Screens:
    """The last two frames of one game as colour codes, and what of them is not yet drawn."""

    def __init__(self, height: int, width: int) -> None:
        self._codes = np.zeros((2, 2, height, width), np.uint8)
        self._side = 0
        self._looked = False  # before the first turn there is no frame to compare with
        self._changed = np.ones(height, np.bool_)
        self._all = np.ones(height, np.bool_)
        self._grey = np.full(256, UNKNOWN)
        self._taps = (area_taps(width), area_taps(height))

    @property
    def codes(self) -> np.ndarray:
        """[2, H, W] uint8: the two frames, older first."""
        return self._codes[self._side]

    @property
    def spare(self) -> np.ndarray:
        """[2, H, W] uint8: where the next two frames are to be written."""
        return self._codes[1 - self._side]

    def look(self, frame: int, grey: np.ndarray | None = None) -> bool:
        """Compare `spare[frame]` with the frame it will replace. Returns whether all its colours are known.

        Where they are not, call again with the emulator's own grey picture [H, W] of that frame.
        """
        if grey is not None:
            self._grey[self.spare[frame]] = grey
        grey_of, changed = self._grey, self._changed
        return bool(mark_changes(self.spare[frame], self.codes[frame], grey_of, changed, not self._looked))

    def turn(self) -> None:
        """The spare frames become the current ones."""
        self._looked = True
        self._side = 1 - self._side

    def draw(self, out: np.ndarray) -> None:
        """Bring `out` [84, 84] up to date; it must hold what the last `draw` left there."""
        shrink(*self.codes, self._grey, self._changed, *self._taps, out)
        self._changed[:] = False

    def draw_whole(self, out: np.ndarray, third: np.ndarray | None = None) -> None:
        """Draw all of `out` [84, 84], whatever it holds; `third`: one more frame [H, W] to take the maximum with."""
        if third is None:
            shrink(*self.codes, self._grey, self._all, *self._taps, out)
        else:
            pooled = np.maximum(self._grey[self.codes].max(0), self._grey[third]).astype(np.uint8)
            shrink(pooled, pooled, _IDENTITY, self._all, *self._taps, out)

    def state(self) -> dict[str, bytes]:
        """What `restore` needs; a screen compresses to some hundred bytes."""
        return {
            "codes": zlib.compress(self.codes.tobytes(), 1),
            "grey": zlib.compress(self._grey.tobytes(), 1),
        }

    def restore(self, state: dict[str, bytes]) -> None:
        """Inverse of `state`."""
        self.codes[...] = np.frombuffer(zlib.decompress(state["codes"]), np.uint8).reshape(self.codes.shape)
        self._grey[...] = np.frombuffer(zlib.decompress(state["grey"]), np.float32)
        self._changed[:] = True
        self._looked = True
