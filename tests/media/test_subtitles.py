"""The words of a clip by time: read from any subtitle file or track, cut at any interval, and never twice."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.errors import InputError
from mer_r1.media.subtitles import Cue, Subtitles, find_subtitles, read_subtitles, words_in
from tests.media.make_media import gray_frames, tone, write_media

SRT = """1
00:00:01,000 --> 00:00:03,500
<i>Hello</i> there, {\\an8}my friend.
- I won!

2
00:00:04,000 --> 00:00:06,000
<font color="red">It is &amp; awful</font> news.
"""
VTT = """WEBVTT

NOTE a remark

00:01.000 --> 00:03.500 align:start
<v Anna>Hello <c.yellow>there</c>,<00:02.000> my friend. - I won!

00:04.000 --> 00:06.000
It is &amp; awful news.
"""
ASS = """[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:04.00,0:00:06.00,Default,,0,0,0,,It is & awful\\Nnews.
Dialogue: 0,0:00:01.00,0:00:03.50,Default,,0,0,0,,{\\i1}Hello{\\i0} there,\\hmy friend. - I won!
Dialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}
"""
SAID = (Cue(1.0, 3.5, "Hello there, my friend. - I won!"), Cue(4.0, 6.0, "It is & awful news."))


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.VTT", VTT), ("a.ass", ASS), ("a.ssa", ASS)])
def test_every_kind_of_file_gives_its_words_without_marks(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_subtitles(tmp_path / name) == Subtitles(SAID, name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_words_survive_the_encoding_of_their_file(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.srt").write_bytes("1\r\n00:00:01,000 --> 00:00:02,000\r\nC’est l’été.\r\n".encode(encoding))
    assert [cue.text for cue in read_subtitles(tmp_path / "a.srt").cues] == ["C’est l’été."]


def test_words_belong_to_the_interval_that_holds_their_middle() -> None:
    said = Subtitles((Cue(0.0, 4.0, "aaaa bbbb cccc"), Cue(10.0, 10.0, "at once")), "a.srt")
    assert said.between(0, 2) == "aaaa"
    assert said.between(2, 3) == "bbbb"
    assert said.between(3, 11) == "cccc at once"
    assert words_in(said, 5, 9) is None
    assert words_in(None, 0, 9) is None


@given(
    cues=st.lists(
        st.tuples(st.floats(0, 50), st.floats(0, 9), st.lists(st.text("abc", min_size=1, max_size=9), min_size=1)),
        max_size=6,
    ),
    step_s=st.floats(0.3, 20),
)
def test_intervals_that_follow_each_other_have_every_word_once(
    cues: list[tuple[float, float, list[str]]], step_s: float
) -> None:
    said = Subtitles(tuple(sorted(Cue(at, at + length, " ".join(words)) for at, length, words in cues)), "a.srt")
    starts = [k * step_s for k in range(int(60 / step_s) + 2)]
    cut = [word for start_s in starts for word in said.between(start_s, start_s + step_s).split()]
    assert sorted(cut) == sorted(word for *_, words in cues for word in words)


def test_rolling_captions_are_not_said_twice(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(
        "WEBVTT\n\n00:00.000 --> 00:02.000\nso I went\n\n00:02.000 --> 00:04.000\nso I went\nto the shop\n\n"
        "00:04.000 --> 00:06.000\nto the shop\nand back\n\n00:09.000 --> 00:10.000\nand back\n"
    )
    assert read_subtitles(tmp_path / "a.vtt").between(0, 20) == "so I went to the shop and back and back"


def test_a_file_beside_the_clip_is_found_by_its_name_and_its_own_before_a_language_s(tmp_path: Path) -> None:
    clip = write_media(tmp_path / "film.mp4", frames=gray_frames(2))
    assert find_subtitles(clip) is None
    for name in ("film.srt.bak", "film2.srt", "film.part 2.srt", "other.srt"):
        (tmp_path / name).write_text(SRT)
    assert find_subtitles(clip) is None
    for name in ("film.fr.srt", "film.en-US.vtt", "film.vtt", "film.srt"):
        (tmp_path / name).write_text(VTT if name.endswith("vtt") else SRT)
        found = find_subtitles(clip)
        assert found is not None
        assert (found.source, found.cues) == (name, SAID)


def test_a_file_without_a_cue_is_passed_over(tmp_path: Path) -> None:
    clip = write_media(tmp_path / "film.mp4", frames=gray_frames(2))
    (tmp_path / "film.srt").write_bytes(b"\x00\xff no subtitles at all")
    assert find_subtitles(clip) is None
    (tmp_path / "film.en.srt").write_text(SRT)
    found = find_subtitles(clip)
    assert found is not None
    assert found.source == "film.en.srt"


def test_a_file_that_is_none_or_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"a\.txt: is no subtitle file by its name; give one that ends in \.srt"):
        read_subtitles(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"lost\.srt: cannot be read"):
        read_subtitles(tmp_path / "lost.srt")
    monkeypatch.setattr("mer_r1.media.subtitles.MOST_BYTES", 10)
    (tmp_path / "a.srt").write_text(SRT)
    with pytest.raises(InputError, match=r"a\.srt: larger than"):
        read_subtitles(tmp_path / "a.srt")


def with_track(path: Path, *, offset_s: int = 0, language: str = "eng") -> Path:
    """A film with a subtitle track that says SAID, everything in it later by `offset_s`."""
    plain, words = path.with_name("plain.mkv"), path.with_name("words.txt")
    write_media(plain, frames=gray_frames(14) * 4, sound=tone(7, 16_000))
    words.write_text(SRT)
    with av.open(plain) as film, av.open(words, format="srt") as said, av.open(path, "w") as out:
        sources = [*film.streams, said.streams.subtitles[0]]
        streams = [out.add_stream_from_template(stream) for stream in sources]
        streams[-1].metadata["language"] = language
        for packet in [*film.demux(), *said.demux()]:
            if packet.dts is not None and packet.pts is not None and packet.time_base is not None:
                later = round(offset_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + later, packet.dts + later
                packet.stream = streams[-1] if packet.stream.type == "subtitle" else streams[packet.stream.index]
                out.mux(packet)
    return path


@pytest.mark.parametrize("offset_s", [0, 30])
def test_a_track_inside_a_container_counts_from_the_clip_s_time_zero(tmp_path: Path, offset_s: int) -> None:
    found = find_subtitles(with_track(tmp_path / "film.mkv", offset_s=offset_s))
    assert found is not None
    assert found.source == "subtitle track 1 of film.mkv (eng)"
    assert [cue.text for cue in found.cues] == [cue.text for cue in SAID]
    assert [cue[:2] for cue in found.cues] == [pytest.approx(cue[:2], abs=0.05) for cue in SAID]


def test_a_file_beside_wins_over_a_track_inside(tmp_path: Path) -> None:
    clip = with_track(tmp_path / "film.mkv", language="und")
    assert (found := find_subtitles(clip)) is not None
    assert found.source == "subtitle track 1 of film.mkv"
    (tmp_path / "film.de.srt").write_text(SRT)
    assert (found := find_subtitles(clip)) is not None
    assert found.source == "film.de.srt"
