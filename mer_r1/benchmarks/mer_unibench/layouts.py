"""The nine data sets of MER-UniBench, read from the folders that their owners distribute.

Convention: DataSet says where everything is, and `read_set` does the same for all nine: names and labels from
the label file, words from the table of subtitles, clips by name. Labels go over as they are: emotion words, or a number
(`valence`) in the owners' own scale, whose sign is what is scored. Nothing is guessed: a clip that is not there is
left out and listed. Rows that are not independent share a `cluster`: a dialogue (MELD, IEMOCAP) or a film (MOSI, MOSEI,
SIMS); of the others the names do not say it.

Source: MER-R1 Section 5.1 and Appendix B.1; the layout is that of AffectGPT's released code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mer_r1.benchmarks.clips import Clips, find_folder, need_folder, subtitle_of
from mer_r1.benchmarks.npz import read_corpus
from mer_r1.benchmarks.tables import Table, name_error, read_table
from mer_r1.data.labels import read_labels
from mer_r1.data.manifest import MAX_VALENCE
from mer_r1.data.prepared import PreparedSet
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.text import kind_of, printable

NEUTRAL = "neutral"
OPEN_SET = "openset"
MER_EMOTIONS = ("happy", "angry", "worried", "sad", "surprise", "neutral")
MELD_EMOTIONS = ("anger", "joy", "sadness", "neutral", "disgust", "fear", "surprise")
IEMOCAP_EMOTIONS = ("happy", "sad", "neutral", "anger")

_EIGHT = "eight of the nine come together from the download links in the README of github.com/zeroQiaoba/AffectGPT"
_OWN = "the ninth, OV-MERD+, has a link of its own in the README of github.com/zeroQiaoba/AffectGPT"


@dataclass(frozen=True)
class DataSet:
    """One data set as its owners distribute it; all names are those of folders, files and columns inside `folder`.

    `num` is the published number of test clips. `corpus` is the label file's key; empty where labels are a csv.
    `emotions` are the words an emotion may be; empty where any word, or a number, is a label. `numbered` says that a
    number is one of them too, counted from 0 in their order: only where the owners publish that order. `silent` says
    that the videos carry no sound. `cluster` finds what groups clips in a name, as its first group. `only` is what a
    test clip's name matches where the label file holds other clips too.
    """

    name: str
    title: str
    folder: str
    num: int
    task: Literal["fine", "basic", "sentiment"]
    language: str
    labels: str
    corpus: str = "test_corpus"
    subtitles: str = "transcription-engchi-polish.csv"
    column: str = "english"
    video: str = "video"
    audio: str = "audio"
    endings: tuple[str, ...] = (".mp4",)
    emotions: tuple[str, ...] = ()
    numbered: bool = False
    silent: bool = False
    cluster: str = ""
    only: str = ""
    where: str = _EIGHT


_FILM = r"(.+)_\d+"

_SETS = (
    DataSet(
        "ovmerdplus", "OV-MERD+", "ovmerdplus-process", 532, "fine", "Chinese", "ovlabel.csv", corpus="",
        subtitles="subtitle_eng.csv", column="sentence", where=_OWN,
    ),
    DataSet(
        "mer2023", "MER2023", "mer2023-dataset-process", 411, "basic", "Chinese", "label-6way.npz",
        corpus="test1_corpus", endings=(".mp4", ".avi"), emotions=MER_EMOTIONS,
    ),
    DataSet(
        "mer2024", "MER2024", "mer2024-dataset-process", 1169, "basic", "Chinese", "label-6way.npz",
        corpus="test1_corpus", subtitles="transcription_merge.csv", column="chinese", endings=(".mp4", ".avi"),
        emotions=MER_EMOTIONS,
    ),
    DataSet(
        "meld", "MELD", "meld-process", 2610, "basic", "English", "label.npz", video="subvideo", audio="subaudio",
        emotions=MELD_EMOTIONS, numbered=True, cluster=r"((?:.+_)?dia\d+)_utt\d+",
    ),
    DataSet(
        "iemocap", "IEMOCAP", "iemocap-process", 1241, "basic", "English", "label_4way.npz", corpus="whole_corpus",
        video="subvideo-tgt", audio="subaudio", endings=(".avi",), emotions=IEMOCAP_EMOTIONS, numbered=True,
        silent=True, cluster=r"(Ses\d\d[FM]_.+)_[FM]\d+", only=r"....5.*",
    ),
    DataSet(
        "mosi", "CMU-MOSI", "cmumosi-process", 686, "sentiment", "English", "label.npz", video="subvideo",
        audio="subaudio", cluster=_FILM,
    ),
    DataSet(
        "mosei", "CMU-MOSEI", "cmumosei-process", 4659, "sentiment", "English", "label.npz", video="subvideo_new",
        audio="subaudio", cluster=_FILM,
    ),
    DataSet("sims", "CH-SIMS", "sims-process", 457, "sentiment", "Chinese", "label.npz", cluster=_FILM),
    DataSet(
        "simsv2", "CH-SIMS v2", "simsv2-process", 1034, "sentiment", "Chinese", "label.npz", video="video_new",
        cluster=_FILM,
    ),
)  # fmt: skip

SETS: dict[str, DataSet] = {item.name: item for item in _SETS}
"""The nine, in the paper's order."""


def read_set(name: str, root: Path) -> PreparedSet:
    """The test clips of a data set in `root`: the folder that holds the owners' folder, or that folder itself.

    Raises KeyError for a name that is not in SETS; InputError for a folder, label file or table of subtitles that is
    not there or cannot be read, an unknown label, and a clip's name that would lead to another folder.
    """
    data = SETS[name]
    folder = need_folder(data.folder, root, data.title, data.where)
    subtitles = read_table(folder / data.subtitles, [data.column])
    clips = Clips(folder, data.video, data.audio, data.endings, data.silent)
    if data.corpus:
        gold = _npz_gold(data, folder)
        names, tables = list(gold), [subtitles]
    else:
        table = read_table(folder / data.labels, [OPEN_SET])
        names, tables = list(subtitles.cells), [subtitles, table]
        gold = {clip: (open_labels(table, clip), None) for clip in names if clip in table.cells}
    samples: list[Sample] = []
    for clip in names:
        if clip not in gold:
            clips.add_missing_row(clip, tables[-1])
        elif media := clips.find(clip):
            labels, valence = gold[clip]
            group = re.fullmatch(data.cluster, clip) if data.cluster else None
            samples.append(
                Sample(
                    id=clip,
                    video=media[0],
                    audio=media[1],
                    subtitle=subtitle_of(subtitles, clip, data.column),
                    labels=labels,
                    valence=valence,
                    cluster=group[1] if group else None,
                    source=data.name,
                )
            )
    notes = tuple(clips.notes(data.num, names, *tables))
    return PreparedSet(data.name, data.title, tuple(samples), tuple(clips.missing), notes, data.where)


Gold = dict[str, tuple[tuple[str, ...], float | None]]
"""Clip -> (its emotion words, its valence)."""


def _npz_gold(data: DataSet, folder: Path) -> Gold:
    """Labels of the clips of a label file that are of the test set."""
    path = folder / data.labels
    gold: Gold = {}
    for clip, fields in read_corpus(path, data.corpus).items():
        if error := name_error(clip):
            raise InputError(f'{path}: "{data.corpus}" names a clip {printable(clip)!r}, which {error}')
        if data.only and not re.fullmatch(data.only, clip, re.DOTALL):
            continue
        where = f'{path}: "{data.corpus}", clip {printable(clip)!r}'
        if data.task == "sentiment":
            gold[clip] = ((), _valence(fields, where))
        else:
            gold[clip] = ((_emotion(fields, data, where),), None)
    return gold


def _emotion(fields: Mapping[str, Any], data: DataSet, where: str) -> str:
    """The word of the field `emo`: itself, or where emotions are numbered the one of that number."""
    value, emotions = fields.get("emo"), data.emotions
    if isinstance(value, str) and value in emotions:
        return value
    if data.numbered and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(emotions):
        return emotions[value]
    known = ", ".join(f"{number} {word}" if data.numbered else word for number, word in enumerate(emotions))
    raise InputError(f'{where}: "emo" is {_seen(value)}; the emotions are {known}')


def _valence(fields: Mapping[str, Any], where: str) -> float:
    value = fields.get("val")
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_VALENCE:
        return float(value)
    raise InputError(f'{where}: "val" is {_seen(value)}; a number from {-MAX_VALENCE} to {MAX_VALENCE} is needed')


def _seen(value: object) -> str:
    return printable(repr(value)) if isinstance(value, str | int | float) else kind_of(value)


def open_labels(table: Table, clip: str) -> tuple[str, ...]:
    """The emotion words of the column "openset", a list written as text; none is neutral, as in the owners' code."""
    labels, error = read_labels(table.cells[clip][OPEN_SET], "official")
    if error:
        raise InputError(f'{table.where(clip)}: column "{OPEN_SET}": {error}; write a list such as [happy, calm]')
    return labels or (NEUTRAL,)


def present_sets(root: Path) -> Iterator[str]:
    """The names of the sets whose folder is in `root`."""
    for data in SETS.values():
        if find_folder(data.folder, root) is not None:
            yield data.name
