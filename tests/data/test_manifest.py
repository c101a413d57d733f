"""Manifests: what is written is read back; every fault is named by file, line and field."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_r1.data.manifest import MAX_VALENCE, read_manifest, scan_manifest, write_manifest
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError

MENDED = "".join(map(chr, range(0x80, 0xA0))) + "\ufeff"  # test_characters.py
TEXT = st.text(st.characters(codec="utf-8", exclude_characters=MENDED), max_size=20)
WORD = TEXT.filter(lambda text: bool(text.strip()))
NAME = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name.strip() and name not in (".", "..")
)


def write_rows(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@st.composite
def manifests(draw: st.DrawFn) -> list[Sample]:
    ids = draw(st.lists(WORD, unique=True, max_size=4))
    samples = []
    for identity in ids:
        media = {key: draw(st.none() | NAME) for key in ("video", "audio", "image")}
        samples.append(
            Sample(
                id=identity,
                video=None if media["video"] is None else Path("/corpus/clips") / media["video"],
                audio=None if media["audio"] is None else Path("/corpus/a/b") / media["audio"],
                image=None if media["image"] is None else Path("/corpus") / media["image"],
                subtitle=draw(WORD),
                labels=tuple(draw(st.lists(WORD, max_size=3))),
                valence=draw(st.none() | st.floats(-MAX_VALENCE, MAX_VALENCE)),
                reasoning=draw(st.none() | TEXT),
                cluster=draw(st.none() | TEXT),
                source=draw(st.none() | TEXT),
            )
        )
    return samples


@given(samples=manifests())
def test_what_is_written_is_read_back(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    moved = [move(sample, folder) for sample in samples]
    write_manifest(folder / "m.jsonl", moved)
    if samples:
        assert read_manifest(folder / "m.jsonl") == moved


def move(sample: Sample, folder: Path) -> Sample:
    paths = {
        key: None if (path := getattr(sample, key)) is None else folder / path.relative_to("/corpus")
        for key in ("video", "audio", "image")
    }
    return Sample(**{**vars(sample), **paths})


def test_media_are_relative_to_the_manifest_and_the_whole_can_be_moved(tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "lists").mkdir(parents=True)
    (old / "clips").mkdir()
    (old / "clips" / "a.mp4").touch()
    write_manifest(old / "lists" / "m.jsonl", [Sample(id="a", video=old / "clips" / "a.mp4")])
    old.rename(tmp_path / "new")
    video = read_manifest(tmp_path / "new" / "lists" / "m.jsonl")[0].video
    assert video is not None
    assert video.resolve() == (tmp_path / "new" / "clips" / "a.mp4").resolve()


def test_a_way_up_follows_the_real_folder_not_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep" / "lists").mkdir(parents=True)
    (tmp_path / "a.mp4").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep" / "lists")
    write_manifest(tmp_path / "link" / "m.jsonl", [Sample(id="a", video=tmp_path / "a.mp4")])
    video = read_manifest(tmp_path / "link" / "m.jsonl")[0].video
    assert video is not None
    assert video.exists()


def test_absolute_paths_are_allowed_and_null_means_absent(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "m.jsonl", {"id": "a", "video": "/data/a.mp4", "valence": None, "labels": None})
    assert read_manifest(path) == [Sample(id="a", video=Path("/data/a.mp4"))]


def test_a_file_name_cannot_pass_for_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(Path("m.jsonl"), {"id": "a", "video": "concat:a|b"})
    video = read_manifest(Path("m.jsonl"))[0].video
    assert video is not None
    assert video.is_absolute()


FAULTS = [
    ({"video": "a.mp4"}, "no id"),
    ({"id": 7, "video": "a.mp4"}, 'id must be a text, found a number; write "id": "7"'),
    ({"id": True, "video": "a.mp4"}, "id must be a text, found true or false"),
    ({"id": "  ", "video": "a.mp4"}, "id is empty"),
    ({"id": "a"}, "no medium; give at least one of video, audio, image, subtitle"),
    ({"id": "a", "subtitle": " "}, "no medium"),
    ({"id": "a", "video": "a.mp4", "lables": ["sad"]}, 'unknown key "lables"; did you mean "labels"?'),
    ({"id": "a", "video": "a.mp4", "zzz": 1}, 'unknown key "zzz"; the keys are id, video'),
    ({"id": "a", "video": 3}, "video must be a path in quotes, found a number"),
    ({"id": "a", "video": ""}, "video is empty"),
    ({"id": "a", "video": "https://host/a.mp4"}, "video is a URL"),
    ({"id": "a", "video": "FILE:///a.mp4"}, "video is a URL"),
    ({"id": "a", "image": "data:image/png;base64,AA"}, "image is a URL"),
    ({"id": "a", "audio": "a\0.wav"}, "audio holds a NUL"),
    ({"id": "a", "subtitle": ["x"]}, "subtitle must be a text in quotes, found a list"),
    ({"id": "a", "subtitle": "\ud800"}, "subtitle holds half a surrogate pair"),
    ({"id": "a", "subtitle": "x", "cluster": 3}, "cluster must be a text in quotes, found a number"),
    (
        {"id": "a", "subtitle": "x", "labels": "happy"},
        'labels must be a list of words, found a text; write "labels": ["happy"]',
    ),
    ({"id": "a", "subtitle": "x", "labels": {"happy": 1}}, "labels must be a list of words, found an object"),
    ({"id": "a", "subtitle": "x", "labels": ["happy", 1]}, "labels[1] must be a word in quotes, found a number"),
    ({"id": "a", "subtitle": "x", "labels": [" "]}, "labels[0] is empty"),
    ({"id": "a", "subtitle": "x", "labels": ["\udfff"]}, "labels[0] holds half a surrogate pair"),
    ({"id": "a", "subtitle": "x", "valence": True}, "valence must be a number, found true or false"),
    ({"id": "a", "subtitle": "x", "valence": "0.5"}, "valence must be a number, found a text"),
    ({"id": "a", "subtitle": "x", "valence": float("nan")}, "valence must be a number from -1000 to 1000"),
    ({"id": "a", "subtitle": "x", "valence": 10**400}, "valence must be a number from -1000 to 1000"),
    ({"id": "a", "subtitle": "x", "valence": -1000.5}, "valence must be a number from -1000 to 1000"),
]


@pytest.mark.parametrize(("row", "message"), FAULTS, ids=[message[:40] for _, message in FAULTS])
def test_a_fault_names_file_line_and_field(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "m.jsonl", {"id": "first", "subtitle": "sound"}, row)
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


NO_LISTS = [
    ("happy, sad", ["happy", "sad"]),
    ("Happy; sad and angry", ["happy", "sad", "angry"]),
    ("['happy','sad']", ["happy", "sad"]),
    ('["happy", "sad"]', ["happy", "sad"]),
    ([["happy"], ["sad", "happy"]], ["happy", "sad"]),
    ([None, "happy", 3], ["happy"]),
    ("é, “sad”", ["é", "sad"]),
    ("none", None),
    ("", None),
    (float("nan"), None),
    ({"happy": 0.8}, None),
]


@pytest.mark.parametrize(("value", "words"), NO_LISTS, ids=[repr(value) for value, _ in NO_LISTS])
@pytest.mark.parametrize("key", ["labels", "candidates"])
def test_the_hint_for_what_is_no_list_of_words_can_be_followed(
    key: str, value: Any, words: list[str] | None, tmp_path: Path
) -> None:
    """Pasted over the value it gives a row that is taken; without a word to read the key may go."""
    scan = scan_manifest(write_rows(tmp_path / "m.jsonl", {"id": "a", "subtitle": "x", key: value}))
    hint = scan.problems[0].partition("; ")[2]
    if words is None:
        assert hint == f'leave {key} out where none is known, or write words such as "{key}": ["happy"]'
        return
    fixed = json.loads("{" + hint.removeprefix("write ") + "}")
    assert fixed == {key: words}
    assert scan_manifest(write_rows(tmp_path / "n.jsonl", {"id": "a", "subtitle": "x", **fixed})).problems == ()


def test_a_list_too_long_for_a_message_is_counted(tmp_path: Path) -> None:
    words = ", ".join(f"word{number}" for number in range(200))
    (problem,) = scan_manifest(write_rows(tmp_path / "m.jsonl", {"id": "a", "subtitle": "x", "labels": words})).problems
    assert problem.endswith("write its 200 words as one list")
    assert (
        "found a list" in scan_manifest(write_rows(tmp_path / "n.jsonl", {"id": "a", "subtitle": [[]] * 3})).problems[0]
    )


def test_words_are_mended_names_are_not_and_the_lines_are_told(tmp_path: Path) -> None:
    rows = [
        {"id": "a\x92", "subtitle": "It\x92s fine", "labels": ["happy\ufeff"], "candidates": ["caf\xe9\x85"]},
        {"id": "b", "subtitle": "fine", "cluster": "\x92"},
        {"id": "c", "subtitle": "\ufeff", "labels": ["\ufeff"]},
    ]
    scan = scan_manifest(write_rows(tmp_path / "m.jsonl", *rows))
    first, second = scan.samples
    assert (first.id, first.subtitle, first.labels, first.candidates) == ("a\x92", "It’s fine", ("happy",), ("café…",))
    assert second.cluster == "\x92"
    assert scan.mended == (1, 3)
    assert [problem.partition(": ")[2][:12] for problem in scan.problems] == ["labels[0] is", "no medium; g"]
    write_manifest(tmp_path / "out.jsonl", [Sample("a", subtitle="It\x92s")])
    assert "It’s" in (tmp_path / "out.jsonl").read_text(encoding="utf-8")


def test_a_medium_in_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write_rows(tmp_path / "m.jsonl", {"id": "a", "video": "~/a.mp4", "audio": "./~/a.wav"})
    (sample,) = read_manifest(path)
    assert (sample.video, sample.audio) == (tmp_path / "home" / "a.mp4", tmp_path / "~" / "a.wav")
    write_manifest(path, [sample])
    assert read_manifest(path) == [sample]


def test_a_repeated_id_names_both_lines(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "m.jsonl", {"id": "a", "subtitle": "x"}, {"id": "a", "subtitle": "y"})
    with pytest.raises(InputError, match=r'm\.jsonl:2: id "a" stands on line 1 already'):
        read_manifest(path)


def test_a_scan_lists_every_problem_and_keeps_the_sound_rows(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "m.jsonl",
        {"id": "a", "vido": "a.mp4", "valence": "x"},
        {"id": "b", "subtitle": "sound"},
        {"id": "c"},
    )
    scan = scan_manifest(path)
    assert [problem.removeprefix(f"{path}:").split(":")[0] for problem in scan.problems] == ["1", "1", "1", "3"]
    assert [sample.id for sample in scan.samples] == ["b"]
    assert scan.lines == (2,)
    with pytest.raises(InputError, match=r"\(and 3 more; `mer-r1 check` lists them all\)"):
        read_manifest(path)


def test_an_empty_manifest_and_a_line_that_is_no_json_are_problems(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no rows"):
        read_manifest(tmp_path / "empty.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "subtitle": "x"}\n{"id": \n')
    scan = scan_manifest(tmp_path / "bad.jsonl")
    assert [sample.id for sample in scan.samples] == ["a"]
    assert "bad.jsonl:2: not valid JSON" in scan.problems[0]
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path / "none.jsonl")


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    for samples in ([Sample(id="a")], [Sample(id="a", subtitle="x"), Sample(id="a", subtitle="x")]):
        with pytest.raises(InputError, match="sample 'a' cannot be written"):
            write_manifest(tmp_path / "m.jsonl", samples)
    assert not list(tmp_path.iterdir())
