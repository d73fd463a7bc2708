"""Numbers as they are said in sentences, tables and claims: digits, intervals, and ends that are open."""

from __future__ import annotations

import math

import pandas as pd

MOST = 1e300
"""Ratios of estimates overflow to about this where one of them may be 0: it is no bound."""


def short(value: float) -> str:
    """A number as it is said: 0.004, 12, 1,500, 20k, 3M, 1,610M."""
    if not 1000 <= abs(value) < 1e4:
        value = float(f"{value:.3g}")  # first, or 999.9 would be 1e+03
    size = abs(value)
    if size >= 1e15:
        return f"{value:.3g}"
    if size >= 1e6:
        return f"{value / 1e6:,.0f}M" if size >= 1e9 else f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}"


def rounded(value: float) -> str:
    """Two digits, or three where the first is 1: what such intervals are worth."""
    if value == 0:
        return "0"
    order = math.floor(math.log10(abs(value)))
    return short(round(value, 2 - order if abs(value) < 2 * 10**order else 1 - order))


def ends(low: float, high: float, none: str = "no interval") -> str:
    """E.g. "4 to 410", "at least 4", "at most 410"; `none` without either. A low end of 0 says nothing of a ratio."""
    below, above = math.isfinite(low) and low != 0 and abs(low) < MOST, math.isfinite(high) and high < MOST
    if below and above:
        return f"{rounded(low)} to {rounded(high)}"
    return f"at least {rounded(low)}" if below else f"at most {rounded(high)}" if above else none


def said(value: float, low: float, high: float, none: str = "unknown") -> str:
    """E.g. "62 (4 to 410)", "62 (at least 4)"; the bounds alone where there is no value, `none` where nothing is known.

    Where all three are one number, as where all seeds agree, it stands alone.
    """
    if not math.isfinite(value) or abs(value) >= MOST:
        return ends(low, math.nan if math.isinf(value) else high, none)
    if rounded(low) == rounded(value) == rounded(high) if math.isfinite(low + high) else False:
        return rounded(value)
    interval = ends(low, high, "")
    return f"{rounded(value)} ({interval})" if interval else rounded(value)


def spread(row: pd.Series, name: str, none: str = "unknown") -> str:
    """`said` of a row's columns `name`, `name`_low and `name`_high."""
    value, low, high = (float(row[column]) for column in (name, f"{name}_low", f"{name}_high"))
    return said(value, low, high, none)


def counted(count: int, noun: str) -> str:
    """E.g. "1 front", "3 fronts"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
