"""One format for each kind of number."""

import pytest

from mer_r1.text import interval, number, p_value, percent, points, signed, with_interval

NAN = float("nan")


def test_fractions_print_in_percent_and_differences_in_points_with_their_sign() -> None:
    assert (percent(0.12345), percent(0.12345, 1), percent(1), percent(-0.5, 0)) == ("12.35", "12.3", "100.00", "−50")
    assert (points(0.012), points(-0.012), points(0.0)) == ("+1.2", "−1.2", "+0.0")
    assert (number(-2.5), signed(2.5), signed(-2.5, 1), p_value(0.04567)) == ("−2.50", "+2.50", "−2.5", "0.046")
    assert (interval(-0.01, 0.02), interval(-1, 2, 1, scale=1)) == ("[−1.00, 2.00]", "[−1.0, 2.0]")


@pytest.mark.parametrize("missing", [None, NAN])
def test_what_is_not_defined_prints_as_a_dash(missing: float | None) -> None:
    for text in (number(missing), signed(missing), percent(missing), points(missing), p_value(missing)):
        assert text == "–"
    assert interval(missing, 0.1) == interval(0.1, missing) == "–"
    assert with_interval(0.1, missing, missing) == "10.00"


def test_an_interval_stands_behind_its_number() -> None:
    assert with_interval(0.1, 0.05, 0.2, 1) == "10.0 [5.0, 20.0]"
