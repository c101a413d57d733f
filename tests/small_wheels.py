"""A wheel set small enough to work out by hand: five wheels, of which the last knows fewer words."""

from mer_r1.emotion.compiled import CompiledWheels, pack
from mer_r1.emotion.protocol import OFFICIAL, Protocol
from mer_r1.emotion.wheel import WheelSet

CATEGORIES = (("joy", "anger", "sadness"),) * 4 + (("joy", "anger"),)
IDS: dict[str, tuple[tuple[int, ...], ...]] = {
    "happy": ((0,),) * 5,
    "glad": ((0,),) * 5,
    "angry": ((1,),) * 5,
    "sad": (*((2,),) * 4, ()),
    "at ease": (*((0,),) * 4, ()),
    "lost": ((),) * 5,
}
"""`sad` and `at ease` have no home in w5; `lost` is known and has no home at all."""

WORDS = ("happy", "glad", "angry", "sad", "at ease")


def small_wheels(protocol: Protocol) -> WheelSet:
    """The small wheels, compiled for a protocol."""
    return WheelSet(
        CompiledWheels(
            source="small",
            names=("w1", "w2", "w3", "w4", "w5"),
            titles=("one", "two", "three", "four", "five"),
            categories_of=CATEGORIES,
            table={word: pack(ids, CATEGORIES) for word, ids in IDS.items()},
            protocol=protocol,
        )
    )


SMALL = small_wheels(OFFICIAL)
