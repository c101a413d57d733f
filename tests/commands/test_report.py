"""The page: it says what the files say, escapes it, fetches nothing, and is there however little of a run is."""

import base64
import gzip
import hashlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mer_r1.commands import main
from mer_r1.errors import InputError
from mer_r1.report.page import clock, write_page
from tests.report.runs import EVIL, MODES, Page, make_asked, make_benchmark, make_quickstart, page_of, write_lines

ALL = {"a": ["happy"], "b": ["sad"], "c": ["angry", "sad"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = make_quickstart(tmp_path_factory.mktemp("run"))
    path = page_of(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def index_of(page: Page) -> dict[str, Any]:
    return next(json.loads(text) for attrs, text in page.scripts if attrs.get("id") == "samples-index")


@pytest.mark.slow
def test_text_from_files_never_becomes_markup(whole: str) -> None:
    page = Page(whole)
    assert not [tag for tag, _ in page.tags if tag in ("iframe", "link", "object", "base")]
    images = [attrs["src"] or "" for tag, attrs in page.tags if tag == "img"]
    assert images
    assert [attrs["src"] for tag, attrs in page.tags if tag in ("video", "audio")] == ["data/clips/a%20b.mp4"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in images)
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    for part in ("“" + EVIL, f"# {EVIL}", f"A run {EVIL}"):
        assert part in page.text
    assert whole.count("&lt;script&gt;") >= 10  # title twice, subtitle, words, reasonings, recipes ...


def test_only_our_own_script_may_run_and_the_data_blocks_hold_no_tag(whole: str) -> None:
    page = Page(whole)
    kinds = [attrs.get("type") for attrs, _ in page.scripts]
    assert kinds.count(None) == 1
    assert set(kinds) == {None, "application/json", "text/plain"}
    own = next(text for attrs, text in page.scripts if not attrs)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    policy = next(attrs["content"] or "" for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    for attrs, text in page.scripts:
        assert not attrs or not set(text) & set("<>&")
    assert index_of(page)["subtitle"][0] == EVIL


def test_the_page_closes_its_tags_and_fetches_nothing(whole: str) -> None:
    page = Page(whole)
    assert page.stack == []
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action", "poster"):
            if (tag, name) != ("video", "src"):
                assert (attrs.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    style = whole[whole.index("<style>") : whole.index("</style>")]
    assert not re.search(r"url\(|@import|@font-face", style)
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert len(whole) < 1_000_000


@pytest.mark.slow
def test_copied_media_stand_in_the_page_and_only_where_they_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = make_quickstart(tmp_path / "quick"), tmp_path / "mail" / "deep" / "er" / "page.html"
    assert main(["report", str(folder), "-o", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "The video file is too far from this page to be shown" in text
    assert index_of(Page(text))["path"] == [None, None, None]
    assert main(["report", str(folder), "-o", str(out), "--embed-media"]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    clip = base64.b64encode((folder / "data" / "clips" / "a b.mp4").read_bytes()).decode()
    (player,) = (attrs for tag, attrs in page.tags if tag == "video")
    assert player["src"] == f"data:video/mp4;base64,{clip}"
    assert index_of(page)["path"] == [f"#{player['id']}", None, None]
    assert "1 media file is copied into this page" in page.text
    capsys.readouterr()
    assert main(["report", str(folder), "--embed-media", "-1"]) == 2
    assert "--embed-media -1: give 0 or more MB" in capsys.readouterr().err


def test_names_within_the_page_are_there_once(whole: str) -> None:
    identities = [attrs["id"] for _, attrs in Page(whole).tags if attrs.get("id")]
    assert len(identities) == len(set(identities))
    markup = re.sub(r"<script.*?</script>", "", whole, flags=re.DOTALL)
    for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', markup):
        assert next(filter(None, target)) in identities


def test_the_page_says_what_was_measured(whole: str) -> None:
    text = Page(whole).text
    for part in ("Baseline", "MER-R1", "set:test|n:3|", "mode:fast+slow", "seed 7", "Make clips", "RL: MER-R1",
                 "5.2 min in all", "torch 2.baseline, 2.mer_r1", "at step 3", "Training line.", "Retained hit rate",
                 "Δ F1 against Baseline", "The emotion wheel", "3 test clips"):  # fmt: skip
        assert part in text
    assert "SFT" not in text.replace("SFT model", "")


def test_every_figure_says_in_words_what_it_shows(whole: str) -> None:
    labels = [attrs.get("aria-label") or "" for tag, attrs in Page(whole).tags if tag == "svg"]
    assert len(labels) >= 8
    assert all(labels)
    assert "MER-R1, slow 44.4" in labels[0]  # "sad, happy" of happy, of sad, of angry: P 1/3, R 2/3
    assert any("MER-R1’s slow answers on 3 clips" in label and "without sound 45.0" in label for label in labels)
    assert sum("Recall reward" in label and "MER-R1 from 0.51 to 0.58" in label for label in labels) == 1
    assert any("joy recall 100, precision 33" in label for label in labels)


@pytest.mark.slow
def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = make_quickstart(tmp_path)
    pages = [page_of(folder, out=tmp_path / name).read_bytes() for name in ("one.html", "two.html")]
    assert pages[0] == pages[1]


@pytest.mark.slow
def test_no_path_of_the_machine_stands_on_the_page(tmp_path: Path) -> None:
    folder = make_quickstart(tmp_path / "quickstart")
    page_of(folder)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    chunks = [gzip.decompress(base64.b64decode(t)).decode() for a, t in page.scripts if a.get("type") == "text/plain"]
    assert chunks
    assert str(tmp_path) not in (folder / "report.html").read_text(encoding="utf-8") + "".join(chunks)
    assert index_of(page)["path"] == ["data/clips/a%20b.mp4", None, None]
    assert "train: ../data/train.jsonl" in page.text


def test_a_clip_that_cannot_be_read_is_said_and_the_page_stands(whole: str) -> None:
    assert "The clip cannot be shown: gone.mp4" in whole


def test_verdicts_stand_in_words_and_symbol_beside_the_colour(whole: str) -> None:
    assert re.search(r'class="word right"><span class="sign"[^>]*>✓</span><b>happy</b><span class="why">right<', whole)
    assert re.search(r'class="word wrong"><span class="sign"[^>]*>✗</span><b>happy</b><span class="why">wrong<', whole)


@pytest.mark.slow
def test_control_characters_and_half_surrogates_do_not_break_the_page(tmp_path: Path) -> None:
    gold = {"a": ["happy"], "b": ["sad"]}
    answers = {identity: (["happy\0", "\udc80x"], ["sad\u2028"]) for identity in gold}
    folder = make_asked(tmp_path / "odd", gold, answers, reasoning="nul \0 and \udfff and \u2029")
    text = page_of(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert page.stack == []
    assert "\0" not in text
    assert "\udc80x" in index_of(page)["words"]
    chunk = next(text for attrs, text in page.scripts if attrs.get("id") == "chunk-0")
    rows = json.loads(gzip.decompress(base64.b64decode(chunk)))
    assert rows[0]["r"]["0.slow"] == "nul \0 and \udfff and"


@pytest.mark.slow
def test_two_runs_stand_side_by_side_with_their_difference(tmp_path: Path) -> None:
    good = make_asked(tmp_path / "good", ALL, {identity: (words, words) for identity, words in ALL.items()})
    poor = make_asked(tmp_path / "poor", ALL, {identity: (["calm"], words) for identity, words in ALL.items()})
    page = Page(page_of(poor, good, out=tmp_path / "both.html").read_text(encoding="utf-8"))
    assert "poor and good" in page.text
    assert "Δ F1 against poor" in page.text
    assert re.search(r"\+\d\d\.\d \[\d\d\.\d, 100\.0\]", page.text)  # good fast is all right, poor fast mostly wrong
    assert [item["title"] for item in index_of(page)["systems"]] == ["poor", "good"]
    assert index_of(page)["pair"] == [0, 1]


@pytest.mark.slow
def test_what_was_not_answered_is_counted_on_the_page_and_ends_both_commands_in_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_asked(tmp_path / "part", ALL, {"a": (["happy"], ["happy"])})
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    failed = {"id": "b", "mode": "fast", "labels": [], "status": "error", "error": "no such file"}
    cut = {"id": "b", "mode": "slow", "labels": [], "status": "truncated", "raw": "<think>on and on"}
    write_lines(folder / "predictions.jsonl", [*rows, failed, cut])
    text = Page(page_of(folder).read_text(encoding="utf-8")).text
    assert "part, fast: 1 without an answer, 1 failed, to be asked again" in text
    assert "1 clip was not answered and left out of every number" in text
    assert "set:test|n:2|" in text
    assert main(["report", str(folder)]) == 1
    assert "failed: 1 answers; their clips are in no number" in capsys.readouterr().err
    assert main(["diagnose", str(folder)]) == 1
    assert "part, test: 1 failed answers; their clips are in no number here" in capsys.readouterr().out
    write_lines(folder / "predictions.jsonl", rows)
    assert main(["report", str(folder)]) == main(["diagnose", str(folder)]) == 0


@pytest.mark.slow
def test_a_benchmark_is_a_table_of_sets_with_its_own_measures(tmp_path: Path) -> None:
    sets = {"ovmerdplus": ALL, "meld": {"a": ["happy"], "b": ["sad"]}}
    numbers: dict[str, Any] = {"sets": {"ovmerdplus": {}, "meld": {}}}
    folder = make_benchmark(tmp_path / "bench", sets, "some/model", numbers)
    text = Page(page_of(folder).read_text(encoding="utf-8")).text
    assert "OV-MERD+ F1 MELD HIT mean" in text
    assert "model fast 100.0 100.0 100.0" in text
    assert "set:meld|n:2" in text
    assert "Recall half shown on 0, not shown on 0, undecided on 2 of 2 sets." in text


@pytest.mark.slow
def test_a_matrix_leaves_open_what_a_system_was_not_asked_and_gives_it_no_mean_and_no_card(tmp_path: Path) -> None:
    sets = {"ovmerdplus": ALL, "meld": {"a": ["happy"], "b": ["sad"]}}
    both = make_benchmark(tmp_path / "x", sets, "both", {})
    one = make_benchmark(tmp_path / "y", {"ovmerdplus": ALL}, "one", {})
    text = Page(page_of(both, one, out=tmp_path / "p.html").read_text(encoding="utf-8")).text
    assert "both fast 100.0 100.0 100.0 slow" in text
    assert "one fast – 100.0 – slow" in text
    assert "both mean of 2 sets, percent fast 100.0 slow" in text
    assert text.count("mean of 2 sets") == 1
    assert "Counted over OV-MERD+, which all of these systems were asked about." in text


@pytest.mark.slow
def test_wheels_without_a_common_set_name_their_sets_and_count_no_clips(tmp_path: Path) -> None:
    one = make_benchmark(tmp_path / "x", {"ovmerdplus": ALL}, "one", {})
    other = make_benchmark(tmp_path / "y", {"mer2023": ALL}, "other", {})
    text = Page(page_of(one, other, out=tmp_path / "p.html").read_text(encoding="utf-8")).text
    assert "one OV-MERD+" in text
    assert "other MER2023" in text
    assert "category clips" not in text
    assert "have no set in common" in text
    assert "category clips" in Page(page_of(one).read_text(encoding="utf-8")).text


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["official", "corrected"])
def test_a_page_has_one_protocol_and_names_another_where_it_stands(tmp_path: Path, protocol: str) -> None:
    folder = make_asked(tmp_path / "a", {"a": ["happy"], "b": ["neutral"]}, dict.fromkeys("ab", (["glad"], ["glad"])))
    (folder / "run.json").write_text(json.dumps({"wheels": "builtin@0123, protocol corrected"}))
    write_lines(folder / "metrics.jsonl", [{"step": s, "reward/recall": 0.5} for s in (1, 2)])
    text = Page(write_page(folder, protocol=protocol)[0].read_text(encoding="utf-8")).text
    assert set(re.findall(r"protocol:(\w+)", text)) == {protocol}
    named = re.findall(r"builtin@(\w+), protocol (\w+)", text)
    assert {name for digest, name in named if digest != "0123"} == {protocol}
    assert text.count("builtin@0123, protocol corrected") == 1
    assert "Rewards are by the wheels of the training: builtin@0123, protocol corrected." in text
    assert ("1 clip has gold words that reach no category by this protocol, such as neutral" in text) == (
        protocol == "official"
    )
    assert ("neutral no clips" in text or "neutral 0 ·" in text) == (protocol == "corrected")


@pytest.mark.slow
def test_a_set_where_every_clip_failed_is_named(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "bench", {"ovmerdplus": ALL, "meld": ALL}, "m", {})
    rows = [{"id": i, "mode": mode, "labels": [], "status": "error", "error": "x"} for i in ALL for mode in MODES]
    write_lines(folder / "meld" / "predictions.jsonl", rows)
    text = Page(page_of(folder).read_text(encoding="utf-8")).text
    assert "MELD is in no table and no mean" in text
    assert "OV-MERD+ is in no table" not in text
    write_lines(folder / "ovmerdplus" / "predictions.jsonl", rows)
    text = Page(page_of(folder).read_text(encoding="utf-8")).text
    assert "MELD is in no table and no mean" in text
    assert "OV-MERD+ is in no table and no mean" in text


def test_a_set_of_sentiments_says_who_judged_it_and_of_which_clips(tmp_path: Path) -> None:
    reported = {"measure": "waf", "n": 2, "waf": 0.5, "signature": "set:mosi|n:2|protocol:official|judge:lexicon@ab"}
    other = {"measure": "waf", "n": 9, "waf": 0.5, "signature": "set:mosi|n:9|protocol:official|judge:lexicon@ab"}
    folder = make_benchmark(tmp_path / "b", {"mosi": {}}, "m", {"sets": {"mosi": {"fast": reported, "slow": other}}})
    clips = [{"id": i, "subtitle": "x", "labels": [], "valence": v} for i, v in (("a", 1.5), ("b", -1.0), ("c", 0.0))]
    write_lines(folder / "mosi" / "manifest.jsonl", clips)
    rows = [{"id": row["id"], "mode": mode, "labels": ["happy"]} for row in clips for mode in MODES]
    write_lines(folder / "mosi" / "predictions.jsonl", rows)
    page = Page(page_of(folder).read_text(encoding="utf-8"))
    assert "set:mosi|n:2|protocol:official|judge:lexicon@ab" in page.text
    assert "n:9" not in page.text
    assert "m, slow: WAF left out: metrics.json has it of 9 clips, here are 2" in page.text
    assert "wheels:" not in page.text.split("Counts, intervals")[0].split("set:mosi")[1][:60]
    assert index_of(page)["answers"]["0.fast"]["state"] == ["n", "n", "n"]


@pytest.mark.slow
def test_hit_has_its_interval_and_its_column_on_a_phone(tmp_path: Path) -> None:
    gold = {str(n): ["happy"] if n % 3 else ["sad"] for n in range(12)}
    folder = make_benchmark(tmp_path / "b", {"meld": gold}, "m", {"sets": {"meld": {"fast": {"measure": "hit"}}}})
    text = page_of(folder).read_text(encoding="utf-8")
    assert "<th>HIT</th>" in text
    assert re.search(r'<td><span>66\.7</span><small class="range">\[[\d.]+, [\d.]+\]</small>\s*</td>', text)
    assert '<th class="wide">HIT</th>' in page_of(make_asked(tmp_path / "a", ALL, {"a": (["sad"], ["sad"])})).read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_a_page_of_several_runs_says_no_run_s_facts_as_everybody_s(tmp_path: Path) -> None:
    folder = make_quickstart(tmp_path / "quick")
    other = make_asked(tmp_path / "other", ALL, {identity: (words, words) for identity, words in ALL.items()})
    text = Page(page_of(folder, other, out=tmp_path / "p.html").read_text(encoding="utf-8")).text
    assert text.startswith("quick and other")
    for part in ("A run", "training clips", "seed", "Make clips", "in all"):
        assert part not in text
    assert "What each medium is worth: F1 of MER-R1’s slow answers" in text


def test_what_a_judge_scored_is_shown_as_it_was_written(tmp_path: Path) -> None:
    scored = {"rec": 0.5, "rea": 0.25, "cot": 0.375, "intervals": {"rec": [0.4, 0.6]}}
    numbers = {
        "sets": {"lab": {"slow": {"n": 3, "unjudged": 1, **scored}}},
        "means": {"slow": {"micro": scored, "macro": "x"}},
        "signature": "set:mme|judge:someone",
    }
    folder = make_benchmark(tmp_path / "mme", {"lab": ALL}, "some/model", numbers)
    (folder / "run.json").write_text('{"kind": "benchmark", "benchmark": "mme-emotion", "model": "m"}')
    text = page_of(folder).read_text(encoding="utf-8")
    assert "lab slow 3 1 50.0 [40.0, 60.0] 25.0 37.5 micro mean slow 50.0" in Page(text).text
    assert "set:mme|judge:someone" in text
    assert "best constant answer" not in text
    assert index_of(Page(text))["num"] == 3


def test_a_training_run_alone_has_curves_and_no_samples(tmp_path: Path) -> None:
    write_lines(tmp_path / "sft" / "metrics.jsonl", [{"step": 1, "loss": 3.0}, {"step": 2}])
    text = page_of(tmp_path / "sft").read_text(encoding="utf-8")
    page = Page(text)
    assert page.stack == []
    assert "SFT loss" in text
    assert "script" not in [tag for tag, _ in page.tags]
    assert 'id="results"' not in text


def test_a_page_is_written_of_metrics_alone(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"systems": {"mine": {"slow": {"f1": null}, "diagnosis": 3}, "sft": {}}}')
    assert Page(page_of(tmp_path).read_text(encoding="utf-8")).stack == []


KILLED = """
import os, signal, sys
from pathlib import Path
from mer_r1.report.page import write_page
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_page(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_page_that_is_killed_while_it_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    folder = make_asked(tmp_path / "run", ALL, dict.fromkeys(ALL, (["happy"], ["happy"])))
    page = page_of(folder)
    before = page.read_bytes()
    make_asked(folder, ALL, dict.fromkeys(ALL, (["sad"], ["sad"])))
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert page.read_bytes() == before
    assert page_of(folder).read_bytes() != before


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run that can be read"):
        page_of(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_out_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    folder = make_asked(tmp_path / "a", ALL, {"a": (["happy"], ["happy"])})
    with pytest.raises(InputError, match="is a folder; give the name of the page"):
        page_of(folder, out=tmp_path)


def test_a_file_that_is_no_page_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_asked(tmp_path / "a", ALL, {"a": (["happy"], ["happy"])})
    out = next(folder.glob("**/predictions.jsonl"))
    before = out.read_bytes()
    for more in ((), ("--watch",)):
        assert main(["report", str(folder), "-o", str(out), *more]) == 2
        assert "predictions.jsonl is there and is not an HTML page; give another name" in capsys.readouterr().err
    assert out.read_bytes() == before


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    folder = make_asked(tmp_path / "a", ALL, {"a": (["happy"], ["happy"])})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'mer-r1\[report\]'"):
        page_of(folder)


def test_numbers_are_said_as_people_say_them() -> None:
    assert [clock(seconds) for seconds in (35.1, 401.2, 7200)] == ["35 s", "6.7 min", "2.0 h"]
