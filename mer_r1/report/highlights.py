"""Which clips the page shows large, with pictures: the strongest of each kind of case, and others by stated rules.

Of each kind (analysis/cases.py) the strongest clip over all sets that is not shown yet; then the first clips of source
"contradicting", then the first clips of the sets, up to NUM_CLIPS in all. The page says of how many each was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mer_r1.analysis.cases import CaseRule, Kind, case_rules, find_cases, pair_of
from mer_r1.data.sample import MODES, Mode, Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.report.payload import cut
from mer_r1.report.pictures import ClipPicture, picture
from mer_r1.report.players import PageMedia, Player
from mer_r1.report.sets import PageSet, ShownSystem
from mer_r1.report.verdicts import Verdicts, Word

NUM_CLIPS = 8
MAX_REASONING_CHARACTERS = 1_200

Strengths = tuple[dict[str, dict[str, float]], ...]
"""Of each set: id -> kind -> strength."""


@dataclass(frozen=True)
class Cases:
    """Who is compared (one system: its fast and its slow answers), the rules of the kinds, and every clip of a kind."""

    pair: tuple[ShownSystem, ...]
    rules: Mapping[Kind, CaseRule]
    strengths: Strengths

    def ranked(self, kind: str) -> list[tuple[int, str]]:
        """(index of the set, id) of every clip of a kind, the strongest first, equals in order."""
        found = [
            (-kinds[kind], index, identity)
            for index, of_set in enumerate(self.strengths)
            for identity, kinds in of_set.items()
            if kind in kinds
        ]
        return [(index, identity) for _, index, identity in sorted(found, key=lambda row: row[0])]


@dataclass(frozen=True)
class ShownAnswer:
    """One system's answer of one mode to a clip, with the verdict on each word."""

    system: ShownSystem
    mode: Mode
    words: list[Word]
    missed: list[str]
    reasoning: str
    status: str


@dataclass(frozen=True)
class ShownClip:
    """A clip of the page, with the answers to it."""

    sample: Sample
    picture: ClipPicture
    players: tuple[Player, ...]
    answers: list[ShownAnswer]


@dataclass(frozen=True)
class Highlight:
    """Why clips are shown, how many are of the kind (None: not counted), and those that are shown."""

    title: str
    rule: str
    count: int | None
    clips: list[ShownClip]


def cases_of(systems: Sequence[ShownSystem], sets: Sequence[PageSet], wheels: WheelSet) -> Cases:
    """The cases of the two systems that `analysis.cases.pair_of` names, or of the one that was asked."""
    asked = [system for system in systems if any(system.index in page_set.answers for page_set in sets)]
    named = pair_of([system.system for system in asked])
    pair = tuple(asked) if named is None else tuple(item for one in named for item in asked if item.system is one)
    if not pair:
        return Cases((), {}, ())
    rules = case_rules(*(system.title for system in pair))
    strengths = []
    for page_set in sets:
        answers = [page_set.answers.get(system.index) for system in pair]
        of_set: dict[str, dict[str, float]] = {}
        if answers[0] is not None and answers[-1] is not None:
            tuned = answers[1] if len(pair) > 1 else None
            for hit in find_cases(page_set.samples, answers[0], tuned, wheels):
                of_set.setdefault(hit.id, {})[hit.kind] = hit.strength
        strengths.append(of_set)
    return Cases(pair, rules, tuple(strengths))


def choose_highlights(cases: Cases, sets: Sequence[PageSet], verdicts: Verdicts, media: PageMedia) -> list[Highlight]:
    """The clips to show, by the rule above."""
    sample_of = {(page_set.index, sample.id): sample for page_set in sets for sample in page_set.samples}
    shown: set[tuple[int, str]] = set()
    chosen: list[tuple[str, str, int | None, list[tuple[int, str]]]] = []
    for kind, (title, rule) in cases.rules.items():
        ranked = cases.ranked(kind)
        best = [key for key in ranked if key not in shown][:1]
        shown |= set(best)
        chosen.append((title, rule, len(ranked), best))
    contradicting = [key for key, sample in sample_of.items() if sample.source == "contradicting"]
    for title, rule, keys, count in (
        ("Contradicting signals", "Face, voice and words do not agree. ", contradicting, len(contradicting)),
        ("Not chosen", "", list(sample_of), None),
    ):
        fresh = [key for key in keys if key not in shown][: NUM_CLIPS - len(shown)]
        shown |= set(fresh)
        chosen.append((title, f"{rule}The first such clips, whatever the answers.", count, fresh))
    return [
        Highlight(
            title, rule, count, [_clip(sample_of[key], sets[key[0]], cases.pair, verdicts, media) for key in keys]
        )
        for title, rule, count, keys in chosen
        if keys or (count == 0 and title != "Contradicting signals")
    ]


def _clip(
    sample: Sample, page_set: PageSet, systems: Sequence[ShownSystem], verdicts: Verdicts, media: PageMedia
) -> ShownClip:
    answers = []
    for system in systems:
        for mode in MODES:
            row = page_set.answers.get(system.index, {}).get((sample.id, mode))
            if row is not None:
                words = verdicts.of_words(row.labels, sample.labels, row.confidence)
                missed = verdicts.missed(row.labels, sample.labels)
                reasoning = cut(row.reasoning, MAX_REASONING_CHARACTERS)
                answers.append(ShownAnswer(system, mode, words, missed, reasoning, row.status))
    return ShownClip(sample, picture(sample), media.players(sample), answers)
