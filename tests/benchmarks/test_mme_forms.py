"""The two parsers of the judge's replies: what they read, what they refuse, and that they are quick on anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.benchmarks.mme_emotion.forms import MOST_STEPS, parse_scores, parse_steps

WORDS = st.text("abc xyz,'", min_size=1, max_size=20).filter(lambda text: text.strip(" *"))
GAPS = st.sampled_from(["", " ", "  ", "\n", "\t"])


@given(
    st.lists(WORDS, min_size=1, max_size=12),
    st.sampled_from(["Step {}:", "step {} :", "STEP{}.", "**Step {}:**", "{}:"]),
)
def test_steps_come_back_as_they_were_written(steps: list[str], mark: str) -> None:
    lines = "\n".join(f"{mark.format(index)} {step}" for index, step in enumerate(steps, start=1))
    expected = tuple(" ".join(step.split()).strip("* ") for step in steps)
    assert parse_steps(f"Sure.\n<step>\n{lines}\n</step>\nDone.") == expected


STEPS = [
    ("<step>Step 1: a</step>", ("a",)),
    ("<STEP> step 1 : a\nSTEP 2. b < /Step >", ("a", "b")),
    ("<steps>Step 1: a\nStep 2: b</steps>", ("a", "b")),
    ("<step>Step 1: a Step 2: b Step 3: c</step>", ("a", "b", "c")),
    ("<step>Step 1: a\nand more\n\nStep 2: b</step>", ("a and more", "b")),
    ("<step>1. a\n2) b</step>", ("a", "b")),
    ("<step>- Step 1: a\n- Step 2: b</step>", ("a", "b")),
    ("<step>Step 1: it is 1.5 s long\nStep 2: b</step>", ("it is 1.5 s long", "b")),
    ("<step>Step 1: says Step 9: loudly\nStep 2: b</step>", ("says Step 9: loudly", "b")),
    ("<step>Step 1: cues:\n1. a smile\n2. a laugh\nStep 2: b</step>", ("cues: 1. a smile 2. a laugh", "b")),
    ("<step>Step 1: old</step> I mean <step>Step 1: new</step>", ("new",)),
    ("<step>Step 1: kept</step> <step>never closed", ("kept",)),
]


@pytest.mark.parametrize(("text", "expected"), STEPS)
def test_steps_are_read_as_meant(text: str, expected: tuple[str, ...]) -> None:
    assert parse_steps(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Step 1: a",
        "<step></step>",
        "<step>no marks at all</step>",
        "<step>Step 2: starts late</step>",
        "<step>Step 0: starts early\nStep 1: a\nStep 2: b</step>",
        "<step>Step 1: a\nStep 3: b</step>",
        "<step>Step 1: a\nStep 2: b\nStep 2: c\nStep 3: d</step>",
        "<step>Step 2: b\nStep 1: a</step>",
        "<step>Step 1:\nStep 2: b</step>",
        "<step>Step 1: never closed",
        "</step>Step 1: a<step>",
        "<step>" + "".join(f"Step {n}: x\n" for n in range(1, MOST_STEPS + 2)) + "</step>",
    ],
)
def test_what_holds_no_steps_is_none(text: str) -> None:
    assert parse_steps(text) is None


@given(
    st.lists(st.integers(0, 1), max_size=8),
    st.integers(1, 6).flatmap(lambda k: st.tuples(st.integers(0, k), st.just(k))),
    st.sampled_from(["Step {}: ", "step {} :", "Step{}:", "{}: ", "", "**Step {}**: "]),
    st.sampled_from([", ", ",", "\n", "; ", "\n- "]),
    GAPS.filter(lambda gap: gap != "\n"),
)
def test_scores_come_back_as_they_were_written(
    before: list[int], last: tuple[int, int], mark: str, between: str, gap: str
) -> None:
    right, whole = last
    pairs = [f"{score}{gap}/{gap}1" for score in before] + [f"{right}{gap}/{gap}{whole}"]
    body = between.join(f"{mark.format(index)}{pair}" for index, pair in enumerate(pairs, start=1))
    assert parse_scores(f"here: <Score>{gap}{body}{gap}</score>", len(pairs), whole) == (*before, right)


REFUSED = [
    ("", 1, 1),
    ("Step 1: 1/1", 1, 1),
    ("<score></score>", 1, 1),
    ("<score>Step 1: 1/1", 1, 1),
    ("<score>Step 1: 1/1</score>", 2, 1),
    ("<score>Step 1: 1/1, Step 2: 1/1</score>", 1, 1),
    ("<score>Step 2: 1/1, Step 1: 0/1</score>", 2, 1),
    ("<score>Step 1: 2/1</score>", 1, 1),
    ("<score>Step 1: 1/2</score>", 1, 1),
    ("<score>Step 1: 1/1</score>", 1, 2),
    ("<score>Step 1: 3/2</score>", 1, 2),
    ("<score>Step 1: 1/2, Step 2: 1/2</score>", 2, 2),
    ("<score>Step 1: 0/0</score>", 1, 1),
    ("<score>Step 1: -1/1, done well</score>", 1, 1),
    ("<score>Step 1: 1/1 because 0/1 would be unfair</score>", 2, 1),
    ("<score>Step 1: 0.5/1</score>", 1, 1),
    ("<score>1.0/1</score>", 1, 1),
    ("<score>1.1/1</score>", 1, 1),
    ("<score>1.0/1, 2.1/1</score>", 2, 1),
    ("<score>Step 1: 11/1</score>", 1, 1),
    ("<score>Step 1: 1/1</score> no: <score>Step 1: maybe</score>", 1, 1),
    ("<score>Step 1: ١/١</score>", 1, 1),
]


@pytest.mark.parametrize(("text", "num_steps", "num_labels"), REFUSED)
def test_what_is_no_score_list_for_these_steps_is_none(text: str, num_steps: int, num_labels: int) -> None:
    assert parse_scores(text, num_steps, num_labels) is None


def test_of_several_score_blocks_the_last_one_counts() -> None:
    assert parse_scores("<score>Step 1: 0/1</score> wait <score>Step 1: 1/1</score>", 1, 1) == (1,)


@given(st.text("<>/scorestep 0123456789:,.*\n"), st.integers(1, 4), st.integers(1, 4))
def test_any_text_gives_a_sound_result_or_none(text: str, num_steps: int, num_labels: int) -> None:
    steps = parse_steps(f"<step>{text}</step>")
    assert steps is None or (all(steps) and len(steps) <= MOST_STEPS)
    scores = parse_scores(f"<score>{text}</score>", num_steps, num_labels)
    assert scores is None or (len(scores) == num_steps and 0 <= scores[-1] <= num_labels and set(scores[:-1]) <= {0, 1})


HOSTILE = [
    "<",
    "<step>",
    "<score>",
    " ",
    "* ",
    "1 ",
    "step ",
    "1/1",
    "Step 1: ",
    "1" * 7 + " ",
    "step\t\t",
    "</step>",
    "\n- ",
]


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    """Quadratic time would be many minutes, which the suite's limit on a test that hangs ends."""
    text = piece * (1_000_000 // len(piece))
    for start, end in (("", ""), ("<step>", "</step>"), ("<score>", "</score>")):
        parse_steps(start + text + end)
        parse_scores(start + text + end, 3, 2)


def test_a_number_with_a_point_behind_it_is_a_steps_as_long_as_no_digit_follows() -> None:
    assert parse_scores("<score>1. 1/1, 2. 0/1</score>", 2, 1) == (1, 0)
