"""Which answers count: a failure leaves all modes and files; a clip that a file does not hold is an empty answer."""

from mer_r1.evaluation.answered import answered

FAST = {"a": "ok", "b": "truncated", "c": "no_answer", "d": "ok"}


def test_a_failure_leaves_every_mode_and_every_file_and_is_counted_where_it_happened() -> None:
    counted = answered("abcd", {"fast": FAST, "slow": FAST | {"b": "error"}}, {"slow": FAST | {"d": "error"}})
    assert counted.ids == ("a", "c")
    assert counted.failed == ({"fast": (), "slow": ("b",)}, {"slow": ("d",)})
    assert counted.exit_status == 1
    assert answered("abcd", {"fast": FAST, "slow": FAST}).exit_status == 0


def test_no_row_is_a_failure_where_the_clip_was_asked() -> None:
    slow = {"a": "ok"}
    assert answered("abx", {"slow": slow}).ids == ("a", "b", "x"), "one mode says nothing of what was asked"
    counted = answered("abx", {"fast": FAST, "slow": slow})
    assert (counted.ids, counted.failed) == (("a", "x"), ({"fast": (), "slow": ("b",)},))
    whole = answered("abx", {"fast": FAST, "slow": slow}, all_asked=True)
    assert (whole.ids, whole.failed) == (("a",), ({"fast": ("x",), "slow": ("b", "x")},))


def test_counted_as_empty_a_failure_keeps_its_clip_and_its_count() -> None:
    counted = answered("ab", {"fast": {"a": "ok", "b": "error", "stranger": "error"}}, rule="as-empty")
    assert (counted.ids, counted.failed, counted.exit_status) == (("a", "b"), ({"fast": ("b",)},), 1)
