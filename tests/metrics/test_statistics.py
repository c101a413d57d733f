"""Bootstrap: intervals of known width, clusters that widen them, a paired test that sees through shared noise."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from mer_r1.metrics import statistics
from mer_r1.metrics.statistics import bootstrap_intervals, holm, paired_bootstrap

Floats = NDArray[np.float64]


def mean(sums_BK: Floats) -> Floats:
    """[count, total] -> the mean; NaN where nothing is counted."""
    count, total = sums_BK[:, :1], sums_BK[:, 1:]
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def table(values: Floats) -> Floats:
    return np.stack([np.ones(len(values)), values], axis=1)


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=4000)
    interval = bootstrap_intervals(table(values), mean, num_resamples=2000)[0]
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_interval_of_a_share_is_that_of_the_normal_law_whichever_way_weights_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = (np.arange(4000) % 10 < 3).astype(np.float64)  # two distinct rows: how often each is drawn is enough
    grouped = bootstrap_intervals(table(values), mean, num_resamples=2000)[0]
    monkeypatch.setattr(statistics, "_DRAWS_A_COUNT", 4000)  # every sample is drawn
    drawn = bootstrap_intervals(table(values), mean, num_resamples=2000)[0]
    assert grouped != drawn
    half = 1.96 * np.sqrt(0.3 * 0.7 / 4000)
    for interval in (grouped, drawn):
        assert interval.low == pytest.approx(0.3 - half, abs=0.1 * half)
        assert interval.high == pytest.approx(0.3 + half, abs=0.1 * half)


@pytest.mark.parametrize("num_rows", [1, 7, 500])
def test_each_resample_has_as_many_samples_as_the_file(num_rows: int) -> None:
    values = np.arange(500.0) % num_rows
    assert bootstrap_intervals(table(values), lambda sums: sums[:, :1])[0] == (500, 500)
    pairs = [n // 2 for n in range(500)]
    assert bootstrap_intervals(table(values), lambda sums: sums[:, :1], pairs)[0] == (500, 500)


def test_a_constant_has_no_width_and_the_seed_fixes_the_interval() -> None:
    assert bootstrap_intervals(table(np.full(10, 0.25)), mean)[0] == (0.25, 0.25)
    values = table(np.arange(20.0))
    assert bootstrap_intervals(values, mean) == bootstrap_intervals(values, mean)
    assert bootstrap_intervals(values, mean, seed=1) != bootstrap_intervals(values, mean)
    grouped = table(np.arange(600.0) % 3)
    assert bootstrap_intervals(grouped, mean) == bootstrap_intervals(grouped, mean)
    assert bootstrap_intervals(grouped, mean, seed=1) != bootstrap_intervals(grouped, mean)


def test_a_wider_level_gives_a_wider_interval() -> None:
    values = table(np.arange(50.0))
    narrow, wide = (bootstrap_intervals(values, mean, level=level)[0] for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_samples_that_repeat_their_cluster_widen_the_interval_by_the_square_root() -> None:
    values = np.random.default_rng(2).normal(size=200)
    repeated = table(np.repeat(values, 9))
    names = [f"speaker {i // 9}" for i in range(1800)]
    alone = bootstrap_intervals(repeated, mean)[0]
    clustered = bootstrap_intervals(repeated, mean, names)[0]
    assert (clustered.high - clustered.low) / (alone.high - alone.low) == pytest.approx(3.0, rel=0.15)


def test_without_a_cluster_a_sample_is_its_own() -> None:
    values = table(np.arange(30.0))
    assert bootstrap_intervals(values, mean, [None] * 30) == bootstrap_intervals(values, mean)


def test_what_is_not_defined_is_nan_and_resamples_without_a_measure_are_left_out() -> None:
    nothing = bootstrap_intervals(np.zeros((5, 2)), mean)[0]
    assert np.isnan(nothing).all()
    assert np.isnan(bootstrap_intervals(np.zeros((0, 2)), mean)[0]).all()
    one_counts = np.array([[1.0, 0.5], [0.0, 0.0], [0.0, 0.0]])
    assert bootstrap_intervals(one_counts, mean)[0] == (0.5, 0.5)


def test_the_paired_test_finds_a_small_steady_gain_that_intervals_hide() -> None:
    generator = np.random.default_rng(3)
    first = generator.normal(size=500)
    second = first + 0.05 + generator.normal(0, 0.1, size=500)
    found = paired_bootstrap(table(first), table(second), mean)[0]
    assert found.delta == pytest.approx((second - first).mean())
    assert 0 < found.low < found.delta < found.high
    assert found.p_value < 0.01
    apart = [bootstrap_intervals(table(values), mean)[0] for values in (first, second)]
    assert apart[0].high > apart[1].low


@pytest.mark.parametrize("num_rows", [3, 900])
def test_both_systems_of_a_paired_test_get_the_same_draw(num_rows: int) -> None:
    first = np.arange(900.0) % num_rows
    found = paired_bootstrap(table(first), table(first + 0.25), mean)[0]
    assert (found.delta, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25), abs=1e-9)


def test_the_smallest_p_value_is_one_of_the_resamples_and_the_data() -> None:
    first = np.zeros(200)
    found = paired_bootstrap(table(first), table(first + 1.0), mean, num_resamples=99)[0]
    assert found.p_value == pytest.approx(1 / 100)


def test_no_difference_has_a_p_value_of_one_and_noise_a_large_one() -> None:
    generator = np.random.default_rng(4)
    values = generator.normal(size=300)
    same = paired_bootstrap(table(values), table(values), mean)[0]
    assert (same.delta, same.p_value) == (0.0, 1.0)
    noise = generator.normal(size=300)
    other = paired_bootstrap(table(values), table(values + noise - noise.mean() + 1e-3), mean)[0]
    assert other.p_value > 0.5


def test_the_paired_test_knows_clusters_and_what_is_not_defined() -> None:
    generator = np.random.default_rng(5)
    gains = np.repeat(generator.normal(0.05, 0.3, size=30), 20)
    first = generator.normal(size=600)
    names = [i // 20 for i in range(600)]
    alone = paired_bootstrap(table(first), table(first + gains), mean)[0]
    clustered = paired_bootstrap(table(first), table(first + gains), mean, names)[0]
    assert clustered.delta == pytest.approx(alone.delta)
    assert clustered.p_value > alone.p_value
    assert np.isnan(paired_bootstrap(np.zeros((3, 2)), np.zeros((3, 2)), mean)[0].p_value)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        bootstrap_intervals(table(np.ones(3)), mean, level=95)
    with pytest.raises(ValueError, match="num_resamples"):
        bootstrap_intervals(table(np.ones(3)), mean, num_resamples=0)
    with pytest.raises(ValueError, match="2 clusters for 3 samples"):
        bootstrap_intervals(table(np.ones(3)), mean, ["a", "b"])
    with pytest.raises(ValueError, match="same samples"):
        paired_bootstrap(table(np.ones(3)), table(np.ones(4)), mean)


@pytest.mark.slow
def test_resamples_of_a_large_benchmark_in_small_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(6)
    values = np.concatenate([table(generator.random(12_799)), generator.random((12_799, 18))], axis=1)
    whole = bootstrap_intervals(values, mean)
    grouped = table(np.arange(12_799.0) % 50)
    whole_grouped = bootstrap_intervals(grouped, mean)
    monkeypatch.setattr(statistics, "_CELLS_AT_ONCE", 100_000)
    np.testing.assert_allclose(bootstrap_intervals(values, mean), whole, rtol=1e-12)
    np.testing.assert_allclose(bootstrap_intervals(grouped, mean), whole_grouped, rtol=1e-12)


@pytest.mark.slow
def test_a_hundred_thousand_samples_need_little_memory() -> None:
    values = np.random.default_rng(7).random((100_000, 20))
    values[:, 0] = 1
    tracemalloc.start()
    bootstrap_intervals(values, mean, num_resamples=64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize("clusters", [None, ["one"] * 20])
def test_one_sample_or_cluster_alone_has_no_interval(clusters: list[str] | None) -> None:
    values = table(np.arange(20.0) if clusters else np.array([0.25]))
    assert np.isnan(bootstrap_intervals(values, mean, clusters)).all()
    (difference,) = paired_bootstrap(values, values + np.array([0.0, 0.5]), mean, clusters)
    assert difference.delta > 0
    assert np.isnan([difference.low, difference.high, difference.p_value]).all()
    assert not np.isnan(bootstrap_intervals(np.concatenate([values, values]), mean)).any()


def test_holms_correction_is_that_of_a_hand_computation() -> None:
    """4 x 0.01, 3 x 0.02, max(2 x 0.03, 0.06), max(0.05, 0.06)."""
    assert holm([0.02, 0.05, 0.01, 0.03]) == pytest.approx([0.06, 0.06, 0.04, 0.06])
    assert holm([0.5, 0.9, 0.04]) == pytest.approx([1.0, 1.0, 0.12])
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
    first, second, third = holm([0.01, float("nan"), 0.02])  # what is not defined is no comparison
    assert (first, third) == pytest.approx((0.02, 0.02))
    assert second != second
