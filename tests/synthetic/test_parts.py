"""What clips and pictures share: the same bytes from the same plan however made, and never half a corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mer_r1.errors import InputError
from mer_r1.synthetic import corpus, pictures
from mer_r1.synthetic.corpus import Plan, write_corpus
from mer_r1.synthetic.parts import RECORD
from mer_r1.synthetic.pictures import PicturePlan, write_pictures


@dataclass(frozen=True)
class Kind:
    """A kind of corpus: its writer, a plan of it by number, plans of other facts, and the name of its files' folder."""

    write: Callable[..., dict[str, Path]]
    plan: Callable[[int], Any]
    others: tuple[Any, ...]
    least: int
    files: str


KINDS = {
    "clips": Kind(
        write_corpus,
        lambda num: Plan(num, 11, 0.5),
        (Plan(21, 11, 0.5), Plan(20, 12, 0.5), Plan(20, 11, 1.0), Plan(20, 11, 0.5, "set_steps"), PicturePlan(20, 11)),
        5,
        "clips",
    ),
    "pictures": Kind(
        write_pictures,
        lambda num: PicturePlan(num, 4),
        (PicturePlan(21, 4), PicturePlan(20, 5), Plan(20, 4)),
        10,
        "pictures",
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def made(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of twenty."""
    folder = tmp_path_factory.mktemp("corpus")
    kind.write(kind.plan(20), folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_processes_make_the_bytes_that_one_makes(kind: Kind, made: Path, tmp_path: Path) -> None:
    manifests = kind.write(kind.plan(20), tmp_path, workers=2)
    assert all(path == tmp_path / f"{split}.jsonl" for split, path in manifests.items())
    assert contents(tmp_path) == contents(made)


def test_a_corpus_can_be_moved(kind: Kind, made: Path) -> None:
    row = json.loads((made / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    path = row.get("video") or row.get("audio") or row["image"]
    assert path.startswith(f"{kind.files}/000000.")


def test_a_finished_corpus_is_kept_untouched(kind: Kind, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a finished corpus was made again")

    monkeypatch.setattr(corpus, "make_clip", refuse)
    monkeypatch.setattr(pictures, "make_picture", refuse)
    manifests = kind.write(kind.plan(20), made)
    assert manifests == {path.stem: path for path in made.glob("*.jsonl")}


def test_a_folder_with_another_plan_is_refused_and_left_alone(kind: Kind, made: Path) -> None:
    before = contents(made)
    for plan in kind.others:
        write = write_corpus if isinstance(plan, Plan) else write_pictures
        with pytest.raises(InputError, match="made with other settings; give another folder"):
            write(plan, made)
    assert contents(made) == before


@pytest.mark.slow
def test_a_stopped_corpus_is_completed_to_the_same_bytes(kind: Kind, made: Path, tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kind.write(kind.plan(20), tmp_path, progress=stop)
    left = contents(tmp_path)
    assert left
    assert all(name.startswith(f"{kind.files}/0") for name in left)
    kind.write(kind.plan(20), tmp_path)
    assert contents(tmp_path) == contents(made)
    (tmp_path / RECORD).unlink()
    next((tmp_path / kind.files).glob("000003.*")).write_bytes(b"torn")
    (tmp_path / "test.jsonl").unlink()
    kind.write(kind.plan(20), tmp_path, workers=2)
    assert contents(tmp_path) == contents(made)


def test_too_few_are_refused_before_anything_is_written(kind: Kind, tmp_path: Path) -> None:
    for num in (kind.least - 1, 0, -1):
        with pytest.raises(InputError, match=f"--num {num}: .*at least {kind.least}"):
            kind.write(kind.plan(num), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_damaged_record_is_named(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(InputError, match=r"corpus\.json"):
        kind.write(kind.plan(20), tmp_path)
