"""A wheel set small enough to work out by hand: five wheels, of which the last knows fewer words."""

from mer_r1.emotion.wheel import WheelSet

SMALL = WheelSet(
    source="small",
    names=("w1", "w2", "w3", "w4", "w5"),
    titles=("one", "two", "three", "four", "five"),
    categories_of=(("joy", "anger", "sadness"),) * 4 + (("joy", "anger"),),
    table={
        "happy": (0, 0, 0, 0, 0),
        "glad": (0, 0, 0, 0, 0),
        "angry": (1, 1, 1, 1, 1),
        "sad": (2, 2, 2, 2, -1),
        "at ease": (0, 0, 0, 0, -1),
        "lost": (-1, -1, -1, -1, -1),
    },
)
"""`sad` and `at ease` have no home in w5; `lost` is known and has no home at all."""

WORDS = ("happy", "glad", "angry", "sad", "at ease")
