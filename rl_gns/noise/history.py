"""A bounded memory of readings: an exact moving average, and the blocks its own uncertainty is judged by.

It knows nothing of gradients: a reading is a pair (x, y). Arrays do for floats, so that a simulation can
carry many repetitions at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HALFLIVES_IN_BLOCKS = 6

Number = float | NDArray[np.float64]


class Block(NamedTuple):
    """Consecutive readings summed with the weights they had when the block's last reading came."""

    end: float
    span: float
    weight: float
    square_weight: float
    time: float
    x: Number
    y: Number


class Blocks(NamedTuple):
    """The history as arrays over its b blocks, oldest first."""

    share: NDArray[np.float64]
    """[b] weight of each block in the average, sums to 1."""
    readings: NDArray[np.float64]
    """[b] how many equally weighted readings the block is worth (Kish: (Σw)²/Σw²)."""
    time: NDArray[np.float64]
    """[b] mean time of its readings."""
    x: NDArray[np.float64]
    """[b, ...] block means."""
    y: NDArray[np.float64]


class History:
    """Exponentially weighted readings of the last six half-lives in at most `12 · per_halflife` blocks.

    A reading that stands for d observations and is a observations old weighs

        (1 - 2^(-d/halflife)) · 2^(-a/halflife)

    so that the shares give the bias-corrected exponential moving average, exactly, of what is kept. Blocks lengthen
    as the history does, from one reading to 1/per_halflife of the half-life. Those older than six half-lives are
    dropped: they weigh a 64th of all, but a reading ten thousand times the others, as when a run all but diverges,
    would rule the average for thirteen half-lives.
    """

    def __init__(self, halflife: float, per_halflife: int = 8) -> None:
        self.halflife = halflife
        self.per_halflife = per_halflife
        self.now = 0.0
        self.block_span = 0.0
        self.blocks: list[Block] = []

    @property
    def most_blocks(self) -> int:
        """How many blocks there are before they lengthen; twice as many where readings just do not fit in pairs."""
        return HALFLIVES_IN_BLOCKS * self.per_halflife

    @property
    def _longest_block(self) -> float:
        return self.halflife / self.per_halflife

    def append(self, x: Number, y: Number, duration: float) -> None:
        """Add a reading that stands for `duration` observations, in amortised constant time."""
        self.now += duration
        w = -math.expm1(-math.log(2) * duration / self.halflife)
        new = Block(self.now, duration, w, w * w, w * self.now, w * x, w * y)
        if self.blocks and self.blocks[-1].span + duration <= self.block_span:
            new = self._merged(self.blocks.pop(), new)
        self.blocks.append(new)
        oldest = self.now - HALFLIVES_IN_BLOCKS * self.halflife
        while self.blocks[0].end < oldest:
            self.blocks.pop(0)
        if len(self.blocks) > self.most_blocks and self.block_span < self._longest_block:
            self._coarsen()

    def read(self) -> Blocks:
        """The blocks as arrays; needs at least one reading."""
        fade = [2.0 ** ((b.end - self.now) / self.halflife) for b in self.blocks]
        w = np.array([f * b.weight for f, b in zip(fade, self.blocks, strict=True)])
        return Blocks(
            share=w / w.sum(),
            readings=np.array([b.weight**2 / b.square_weight for b in self.blocks]),
            time=np.array([b.time / b.weight for b in self.blocks]),
            x=np.array([b.x / b.weight for b in self.blocks]),
            y=np.array([b.y / b.weight for b in self.blocks]),
        )

    def _coarsen(self) -> None:
        # Half as many blocks as fit, so that the next merging is as far away as this one was.
        self.block_span = min(2 * self.now / self.most_blocks, self._longest_block)
        merged = [self.blocks[0]]
        for block in self.blocks[1:]:
            if merged[-1].span + block.span <= self.block_span:
                merged[-1] = self._merged(merged[-1], block)
            else:
                merged.append(block)
        self.blocks = merged

    def _merged(self, old: Block, new: Block) -> Block:
        f = 2.0 ** ((old.end - new.end) / self.halflife)
        return Block(
            new.end,
            old.span + new.span,
            f * old.weight + new.weight,
            f * f * old.square_weight + new.square_weight,
            f * old.time + new.time,
            f * old.x + new.x,
            f * old.y + new.y,
        )
