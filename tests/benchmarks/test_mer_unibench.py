"""The nine sets: what is in the owners' folders goes over as it is, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.benchmarks.mer_unibench.layouts import SETS, present_sets, read_set
from mer_r1.data.prepared import PreparedSet
from mer_r1.errors import InputError
from tests.benchmarks.layouts import copy_clip, write_all, write_layout, write_npz, write_table


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    for name in SETS:
        write_layout(name, folder, 7 if name == "meld" else 4)
    return folder


def refusal(name: str, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_set(name, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def labels(prepared: PreparedSet) -> list[tuple[str, ...]]:
    return [sample.labels for sample in prepared.samples]


def test_there_are_nine_sets_of_12799_clips_in_the_papers_order() -> None:
    titles = ["OV-MERD+", "MER2023", "MER2024", "MELD", "IEMOCAP", "CMU-MOSI", "CMU-MOSEI", "CH-SIMS", "CH-SIMS v2"]
    assert [data.title for data in SETS.values()] == titles
    assert sum(data.num for data in SETS.values()) == 12_799
    assert [name for name, data in SETS.items() if data.name != name] == []


# name -> folder, labels, corpus, subtitles, column, video, audio, clips
POLISHED = "transcription-engchi-polish.csv"
PUBLISHED = {
    "ovmerdplus": ("ovmerdplus-process", "ovlabel.csv", "", "subtitle_eng.csv", "sentence", "video", "audio", 532),
    "mer2023": ("mer2023-dataset-process", "label-6way.npz", "test1_corpus", POLISHED, "english", "video", "audio",
                411),
    "mer2024": ("mer2024-dataset-process", "label-6way.npz", "test1_corpus", "transcription_merge.csv", "chinese",
                "video", "audio", 1169),
    "meld": ("meld-process", "label.npz", "test_corpus", POLISHED, "english", "subvideo", "subaudio", 2610),
    "iemocap": ("iemocap-process", "label_4way.npz", "whole_corpus", POLISHED, "english", "subvideo-tgt", "subaudio",
                1241),
    "mosi": ("cmumosi-process", "label.npz", "test_corpus", POLISHED, "english", "subvideo", "subaudio", 686),
    "mosei": ("cmumosei-process", "label.npz", "test_corpus", POLISHED, "english", "subvideo_new", "subaudio", 4659),
    "sims": ("sims-process", "label.npz", "test_corpus", POLISHED, "english", "video", "audio", 457),
    "simsv2": ("simsv2-process", "label.npz", "test_corpus", POLISHED, "english", "video_new", "audio", 1034),
}  # fmt: skip


def test_the_sets_are_where_the_released_code_has_them() -> None:
    ours = {
        name: (d.folder, d.labels, d.corpus, d.subtitles, d.column, d.video, d.audio, d.num) for name, d in SETS.items()
    }
    assert ours == PUBLISHED
    assert {name for name, data in SETS.items() if data.numbered} == {"meld", "iemocap"}


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_read_whole(root: Path, name: str) -> None:
    data, prepared = SETS[name], read_set(name, root)
    num = 7 if name == "meld" else 4
    assert prepared.missing == ()
    assert prepared.notes == (f"{num} clips in the owners' tables, {data.num:,} published",)
    assert len(prepared.samples) == num
    for sample in prepared.samples:
        assert sample.source == name
        assert sample.video is not None
        assert sample.audio is not None
        assert sample.video.parent == root / data.folder / data.video
        assert sample.audio == root / data.folder / data.audio / f"{sample.id}.wav"
        assert (sample.valence is None) == (data.task != "sentiment")
        assert bool(sample.labels) == (data.task != "sentiment")
        assert sample.candidates == ()


def test_labels_are_the_owners_words(root: Path) -> None:
    assert labels(read_set("ovmerdplus", root)) == [("happy", "excited"), ("sad", "worried"), ("angry",), ("neutral",)]
    assert labels(read_set("mer2023", root)) == [("happy",), ("angry",), ("worried",), ("sad",)]
    meld = ["anger", "joy", "sadness", "neutral", "disgust", "fear", "surprise"]
    assert labels(read_set("meld", root)) == [(word,) for word in meld]
    assert labels(read_set("iemocap", root)) == [("happy",), ("sad",), ("neutral",), ("anger",)]
    assert [sample.valence for sample in read_set("mosei", root).samples] == [-1.2, 0.0, 2.4, -1.2]


def test_subtitles_come_from_the_sets_own_column(root: Path) -> None:
    assert read_set("meld", root).samples[1].subtitle == 'Well, "fine"\nthen 1'
    assert read_set("mer2024", root).samples[1].subtitle == "好吧，1"


def test_rows_that_are_not_independent_share_a_cluster(root: Path) -> None:
    clusters = {name: [sample.cluster for sample in read_set(name, root).samples][:2] for name in SETS}
    assert clusters == {
        "ovmerdplus": [None, None],
        "mer2023": [None, None],
        "mer2024": [None, None],
        "meld": ["test_dia0", "test_dia1"],
        "iemocap": ["Ses05F_impro01"] * 2,
        "mosi": ["03bSnISJMiM"] * 2,
        "mosei": ["-3g5yACwYnA"] * 2,
        "sims": ["video_0001"] * 2,
        "simsv2": ["aqgy3_0001"] * 2,
    }


def test_only_the_fifth_session_of_iemocap_is_of_the_benchmark(root: Path) -> None:
    assert {sample.id[:5] for sample in read_set("iemocap", root).samples} == {"Ses05"}


def test_both_endings_of_mer2023_are_found(root: Path) -> None:
    found = [sample.video.suffix for sample in read_set("mer2023", root).samples if sample.video]
    assert found == [".mp4", ".avi"] * 2


def test_the_root_may_be_the_owners_folder_itself(root: Path) -> None:
    assert read_set("meld", root / "meld-process") == read_set("meld", root)
    assert list(present_sets(root)) == list(SETS)
    assert list(present_sets(root / "meld-process")) == ["meld"]


def test_a_clip_that_is_not_there_is_left_out_and_listed(tmp_path: Path) -> None:
    folder = write_layout("meld", tmp_path, 3)
    (folder / "subvideo" / "test_dia1_utt0.mp4").unlink()
    (folder / "subvideo" / "test_dia2_utt0.mp4").write_bytes(b"")
    prepared = read_set("meld", tmp_path)
    assert [sample.id for sample in prepared.samples] == ["test_dia0_utt0"]
    paths = ["meld-process/subvideo/test_dia1_utt0.mp4", "meld-process/subvideo/test_dia2_utt0.mp4"]
    assert [file.path for file in prepared.missing] == paths
    assert "github.com/zeroQiaoba/AffectGPT" in prepared.where


def test_without_its_own_sound_file_a_clip_keeps_the_videos_but_a_silent_one_is_missing(tmp_path: Path) -> None:
    (write_layout("meld", tmp_path, 2) / "subaudio" / "test_dia1_utt0.wav").unlink()
    prepared = read_set("meld", tmp_path)
    assert prepared.samples[1].audio is None
    assert "1 clips have no file in meld-process/subaudio: the sound of the video itself is read" in prepared.notes
    (write_layout("iemocap", tmp_path, 2) / "subaudio" / "Ses05F_impro01_F001.wav").unlink()
    prepared = read_set("iemocap", tmp_path)
    assert len(prepared.samples) == 1
    assert [file.path for file in prepared.missing] == ["iemocap-process/subaudio/Ses05F_impro01_F001.wav"]


def test_a_clip_without_labels_is_missing_and_one_without_subtitle_is_noted(tmp_path: Path) -> None:
    folder = write_layout("ovmerdplus", tmp_path, 2)
    write_table(folder / "ovlabel.csv", ["name", "openset"], [["samplenew_00000000", "[calm]"]])
    prepared = read_set("ovmerdplus", tmp_path)
    assert [sample.id for sample in prepared.samples] == ["samplenew_00000000"]
    assert prepared.missing[0].path == "ovmerdplus-process/ovlabel.csv"
    assert "samplenew_00000001" in prepared.missing[0].why
    folder = write_layout("mosi", tmp_path, 2)
    write_table(folder / "transcription-engchi-polish.csv", ["name", "english"], [["03bSnISJMiM_0", ""]])
    prepared = read_set("mosi", tmp_path)
    assert [sample.subtitle for sample in prepared.samples] == [None, None]
    assert [note for note in prepared.notes if note.startswith("1 clips have no row")]


@pytest.mark.parametrize("name", ["../../clip", "/etc/passwd", "a/b", "a\\b", "..", "", "nul\0l", "half\ud800"])
def test_a_name_in_a_label_file_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = write_layout("meld", tmp_path / "data", 1)
    copy_clip(tmp_path / "clip.mp4")
    write_npz(folder / "label.npz", test_corpus={name: {"emo": 0, "val": -10}})
    message = refusal("meld", tmp_path / "data")
    assert str(folder / "label.npz") in message
    assert "give" in message


@pytest.mark.parametrize("value", [7, -1, True, "joyful", 0.0, None, [[[]]], {}, "1\n2"])
def test_an_unknown_emotion_is_an_error_that_names_the_clip(tmp_path: Path, value: object) -> None:
    folder = write_layout("meld", tmp_path, 1)
    write_npz(folder / "label.npz", test_corpus={"test_dia0_utt0": {"emo": value}})
    assert "clip 'test_dia0_utt0': \"emo\" is" in refusal("meld", tmp_path)


def test_a_number_is_no_emotion_where_no_order_is_published(tmp_path: Path) -> None:
    folder = write_layout("mer2023", tmp_path, 1)
    write_npz(folder / "label-6way.npz", test1_corpus={"sample_00000000": {"emo": 3}})
    message = '"emo" is 3; the emotions are happy, angry, worried, sad, surprise, neutral'
    assert message in refusal("mer2023", tmp_path)


def test_a_row_that_stands_twice_is_noted(tmp_path: Path) -> None:
    folder = write_layout("mosi", tmp_path, 2)
    rows = [("03bSnISJMiM_0", "first"), ("03bSnISJMiM_1", "said"), ("03bSnISJMiM_0", "last")]
    write_table(folder / "transcription-engchi-polish.csv", ["name", "english"], rows)
    prepared = read_set("mosi", tmp_path)
    message = "1 rows of transcription-engchi-polish.csv are replaced by a later row of the same clip"
    assert message in prepared.notes
    assert prepared.samples[0].subtitle == "last"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**1500, 1000.5, "0.5", True, None])
def test_an_unknown_valence_is_an_error_that_names_the_clip(tmp_path: Path, value: object) -> None:
    folder = write_layout("mosi", tmp_path, 1)
    write_npz(folder / "label.npz", test_corpus={"03bSnISJMiM_0": {"val": value}})
    assert "clip '03bSnISJMiM_0': \"val\" is" in refusal("mosi", tmp_path)


def test_what_is_not_there_at_all_says_where_it_is_to_be_had(tmp_path: Path) -> None:
    assert "no folder meld-process" in refusal("meld", tmp_path)
    assert "github.com/zeroQiaoba/AffectGPT" in refusal("meld", tmp_path)
    write_all(tmp_path, 1)
    (tmp_path / "meld-process" / "label.npz").unlink()
    assert "label.npz: no such file" in refusal("meld", tmp_path)
    (tmp_path / "sims-process" / "transcription-engchi-polish.csv").unlink()
    assert "transcription-engchi-polish.csv: no such file" in refusal("sims", tmp_path)
    write_table(tmp_path / "ovmerdplus-process" / "ovlabel.csv", ["name", "openset"], [["samplenew_00000000", "["]])
    assert 'ovlabel.csv:2: column "openset"' in refusal("ovmerdplus", tmp_path)
