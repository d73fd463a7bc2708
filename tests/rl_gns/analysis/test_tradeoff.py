"""What another batch is worth: the law's two ends, and the law itself."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_gns.analysis import tradeoff

sizes = st.floats(1.0, 1e7)


@given(batch=sizes, other=sizes, b_crit=st.floats(0.0, 1e7))
def test_is_the_front_itself(batch: float, other: float, b_crit: float) -> None:
    """(S/S_min - 1)(E/E_min - 1) = 1 at both batches, S and E to any units."""
    found = tradeoff(batch, other, b_crit)
    s, e = 1 + b_crit / batch, batch / b_crit + 1 if b_crit else math.inf
    if b_crit > 1e-3:
        product = (found.updates * s - 1) * (found.observations * e - 1)
        assert product == pytest.approx(1, rel=1e-4 * max(1, batch / b_crit, other / b_crit))
    assert found.observations == pytest.approx(found.updates * other / batch)


def test_far_below_and_far_above_the_bend() -> None:
    assert tradeoff(80, 160, 1e9) == pytest.approx((0.5, 1.0), rel=1e-6)  # perfect scaling
    assert tradeoff(80, 160, math.inf) == (0.5, 1.0)
    assert tradeoff(80, 160, 0) == (1.0, 2.0)  # nothing gained
    assert tradeoff(80, 160, 80) == (0.75, 1.5)


@pytest.mark.parametrize("values", [(0, 1, 1), (1, -1, 1), (1, math.inf, 1), (1, 1, -1), (1, 1, math.nan)])
def test_bad_input(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="batch"):
        tradeoff(*values)
