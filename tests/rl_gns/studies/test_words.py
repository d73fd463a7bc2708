"""One notation for digits, intervals and open ends."""

from __future__ import annotations

import math

import pytest

from rl_gns.studies.words import counted, ends, said, short

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "says"),
    [
        *((0, "0"), (0.004, "0.004"), (12, "12"), (190, "190"), (999.9, "1,000"), (1500, "1,500")),
        *((20_000, "20k"), (-5e4, "-50k"), (999_999, "1M"), (3e6, "3M"), (1.61e9, "1,610M")),
    ],
)
def test_numbers_have_no_exponents(value: float, says: str) -> None:
    assert short(value) == says


@pytest.mark.parametrize(
    ("value", "low", "high", "says"),
    [
        (62, 4, 410, "62 (4 to 410)"),
        (62, 4, INF, "62 (at least 4)"),
        (62, 4, 1e305, "62 (at least 4)"),
        (62, NAN, 410, "62 (at most 410)"),
        (62, 0, 410, "62 (at most 410)"),  # a ratio is above 0 anyhow
        (-0.5, -0.9, 0.3, "-0.5 (-0.9 to 0.3)"),
        (62, 0, INF, "62"),
        (62, NAN, NAN, "62"),
        (0.0005, 0.0005, 0.0005, "0.0005"),
        (NAN, 4, 410, "4 to 410"),
        (NAN, 4, NAN, "at least 4"),
        (NAN, 0, 410, "at most 410"),
        (INF, 4, INF, "at least 4"),
        (NAN, NAN, NAN, "unknown"),
        (INF, 0, INF, "unknown"),
    ],
)
def test_open_ends_have_one_notation(value: float, low: float, high: float, says: str) -> None:
    assert said(value, low, high) == says


def test_one_of_a_thing_is_singular() -> None:
    assert (counted(1, "front"), counted(0, "front"), ends(0, INF)) == ("1 front", "0 fronts", "no interval")
