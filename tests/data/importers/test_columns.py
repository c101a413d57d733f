"""Which column is which field: guessed by name and content, said where two fit, overruled by what is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_r1.data.importers import read_table
from mer_r1.data.importers.columns import choose_columns
from mer_r1.errors import InputError
from tests.data.importers.tables import media, prepared, samples, write


def guessed(tmp_path: Path, text: str, **given: str) -> dict[str, str]:
    table = read_table(str(write(tmp_path / "t.csv", text)))
    return {field: str(chosen) for field, chosen in choose_columns(table, given).items()}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Clip ID,Emotion,Transcript,Speaker\n1,joy,a,S\n", "Clip ID|Emotion|Transcript|Speaker"),
        ("filename;Gefühl;Untertitel;Sprecher\n1;Freude;a;S\n", "filename|Gefühl|Untertitel|Sprecher"),
        ("fichier,émotion,phrase,locuteur\n1,joie,a,S\n", "fichier|émotion|phrase|locuteur"),
        ("文件名,情感,字幕,说话人\n1,高兴,a,S\n", "文件名|情感|字幕|说话人"),
    ],
)
def test_usual_names_are_known_in_several_languages(tmp_path: Path, text: str, found: str) -> None:
    assert guessed(tmp_path, text) == dict(zip(("id", "subtitle", "labels", "cluster"), _order(found), strict=True))


def _order(found: str) -> list[str]:
    identity, labels, subtitle, cluster = found.split("|")
    return [identity, subtitle, labels, cluster]


def test_the_table_of_meld_needs_its_id_alone(tmp_path: Path) -> None:
    text = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season\n"
        "1,Oh my God!,Phoebe,surprise,positive,0,0,8\n2,Hey.,Joey,neutral,neutral,0,1,8\n"
    )
    pattern = "dia{dialogue_id}_utt{utterance_id}"
    found = guessed(tmp_path, text, id=pattern)
    assert found == {
        "id": "dia{Dialogue_ID}_utt{Utterance_ID}",
        "subtitle": "Utterance",
        "labels": "Emotion",
        "cluster": "Speaker",
    }
    root = media(tmp_path / "clips", "dia0_utt0.mp4", "dia0_utt1.mp4", "._dia0_utt1.mp4")
    first, second = samples(tmp_path / "t.csv", root, id=pattern)
    assert (first.id, first.video, second.video) == ("dia0_utt0", root / "dia0_utt0.mp4", root / "dia0_utt1.mp4")


def test_numbers_with_fractions_under_label_are_the_valence(tmp_path: Path) -> None:
    text = "video_id,text,label,annotation\nv1,a,-0.8,Negative\nv2,b,1.0,Positive\n"
    assert guessed(tmp_path, text) == {"id": "video_id", "subtitle": "text", "valence": "label"}


def test_names_that_end_like_media_are_media_whatever_the_column_is_called(tmp_path: Path) -> None:
    text = "stimulus,emotion,thumb\na/1.mp4,joy,1.jpg\na/2.mp4,fear,2.jpg\n"
    assert guessed(tmp_path, text) == {"video": "stimulus", "image": "thumb", "labels": "emotion"}


def test_columns_of_0_and_1_named_by_emotions_are_labels(tmp_path: Path) -> None:
    text = "id,text,joy,anger,unclear\n1,a,1,0,0\n2,b,1,1,0\n"
    assert guessed(tmp_path, text)["labels"] == "joy, anger"
    assert [sample.labels for sample in samples(tmp_path / "t.csv")] == [("joy",), ("joy", "anger")]


def test_two_columns_that_fit_alike_are_an_error_that_names_the_option(tmp_path: Path) -> None:
    text = "id,label,emotion,text\n1,joy,fear,a\n"
    with pytest.raises(InputError, match=r"label and emotion may each be the labels; say which: --labels label \| emo"):
        guessed(tmp_path, text)
    assert guessed(tmp_path, text, labels="emotion")["labels"] == "emotion"


def test_a_guess_is_switched_off_by_none(tmp_path: Path) -> None:
    text = "id,label,text,speaker\n1,joy,a,S\n"
    assert set(guessed(tmp_path, text, cluster="none", subtitle="none")) == {"id", "labels"}


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--labels emotoin: .* did you mean 'emotion'\? it has id, emotion"):
        guessed(tmp_path, "id,emotion\n1,joy\n", labels="emotoin")
    with pytest.raises(InputError, match="--speaker who: "):
        guessed(tmp_path, "id,emotion\n1,joy\n", cluster="who")


def test_a_column_of_ids_and_names_of_files_is_the_medium_and_its_ids_have_neither_folder_nor_ending(
    tmp_path: Path,
) -> None:
    root = media(tmp_path / "clips", "x1.mp4", "x2.mp4", "x3.mp4", "x4.mp4")
    source = write(tmp_path / "t.csv", "Clip;Emotion\nx1;joy\nx2.mp4;joy\nC:\\old\\x3.mp4;sad\nx4;sad\n")
    found = samples(source, root)
    assert [sample.id for sample in found] == ["x1", "x2", "x3", "x4"]
    assert [sample.video for sample in found] == [root / f"x{k}.mp4" for k in (1, 2, 3, 4)]
    (missing,) = prepared(source, root, id="Clip").imported.missing
    assert missing.why.endswith("if Clip holds paths: --video Clip")
    assert guessed(tmp_path, "Clip,video\nx1,a.mp4\nx2.mp4,b.mp4\nx3,c.mp4\n") == {"id": "Clip", "video": "video"}
