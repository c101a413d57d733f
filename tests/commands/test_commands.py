"""The command: help without torch, and one line with status 2 for whatever a person gets wrong."""

from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mer_r1
from mer_r1 import commands as cli

NAMES = (
    *("quickstart", "synth", "prepare", "check", "train", "sweep", "export", "predict", "score"),
    *("benchmark", "judge", "diagnose", "report", "wheels"),
)
TORCH = {"torch", "torchvision", "transformers", "accelerate", "matplotlib"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mer_r1.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
GOOD = '{"id": "a", "subtitle": "well", "labels": ["happy"], "reasoning": "r"}\n'

Run = Callable[..., int]
Fault = Callable[..., str]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of right and wrong inputs."""
    monkeypatch.chdir(tmp_path)
    texts = {
        "gold.jsonl": GOOD,
        "pred.jsonl": '{"id": "a", "labels": ["happy"]}\n',
        "both.jsonl": "".join(f'{{"id": "a", "mode": "{mode}", "labels": ["happy"]}}\n' for mode in ("fast", "slow")),
        "bad.jsonl": GOOD + '{"id": \n',
        "empty.jsonl": "",
        "text.mp4": "this is no film",
        "empty.mp4": "",
        "lost.jsonl": '{"id": "a", "video": "lost.mp4", "labels": ["happy"], "reasoning": "r"}\n',
        "mine.yaml": "kind: sft\nmodel: {source: tiny}\ndata: {train: gold.jsonl}\noptim: {learning_rate: 1.0e-3}\n",
        "llama/config.json": '{"model_type": "llama"}',
        "torn/config.json": '{"model_ty',
        "corpus/corpus.json": '{"num": 7}',
        "folder/note": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    return tmp_path


def status(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as end:  # argparse's way
        return end.code if isinstance(end.code, int) else -1


@pytest.fixture
def fault(files: Path, capsys: pytest.CaptureFixture[str]) -> Fault:
    """Runs a command that has to fail by one line, and gives that line."""

    def run(*arguments: str) -> str:
        before = contents(files)
        capsys.readouterr()
        assert status(*arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("mer-r1: error: ")
        assert contents(files) == before, "something was left behind"
        return lines[0].removeprefix("mer-r1: error: ")

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", NAMES)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(command, "--help") == 0
    assert f"usage: mer-r1 {command} " in capsys.readouterr().out


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


def test_every_option_says_what_it_is_and_its_default() -> None:
    silent = [
        f"{parser.prog} {action.dest}"
        for parser in parsers(cli._parser())
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction)
        if not action.help or (action.default not in (None, False, argparse.SUPPRESS) and "default" not in action.help)
    ]
    assert [name for name in silent if not name.endswith((" clips", " overrides", " what", " names"))] == []


def test_the_help_lists_every_command_and_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--help") == 0
    printed = capsys.readouterr().out
    assert set(NAMES) <= {line.split()[0] for line in printed.splitlines() if line.startswith("    ")}
    assert status("--version") == 0
    assert capsys.readouterr().out == f"mer-r1 {mer_r1.__version__}\n"


MANIFESTS = [
    ("none.jsonl", "none.jsonl"),
    ("bad.jsonl", "bad.jsonl:2: not valid JSON"),
    ("empty.jsonl", "empty.jsonl: no "),
    ("folder", "folder: "),
    ("bytes.jsonl", "bytes.jsonl:1: not UTF-8"),
    ("text.mp4", "text.mp4:1: not valid JSON"),
]
USES = [
    ("score", "--gold", "{}", "--pred", "pred.jsonl"),
    ("score", "--gold", "gold.jsonl", "--pred", "{}"),
    ("diagnose", "--gold", "{}", "--pred", "both.jsonl"),
    ("predict", "--manifest", "{}", "--out", "out.jsonl", "--model", "llama"),
    ("train", "mine.yaml", "data.train={}", "--out", "run"),
]


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use[0]} {use.index('{}') if '{}' in use else 'data'}")
@pytest.mark.parametrize(("name", "message"), MANIFESTS, ids=[name for name, _ in MANIFESTS])
def test_a_wrong_file_of_rows_is_named(use: tuple[str, ...], name: str, message: str, fault: Fault) -> None:
    assert message in fault(*(argument.format(name) for argument in use))


@pytest.mark.parametrize("name", [name for name, _ in MANIFESTS])
def test_diagnose_names_wrong_predictions(name: str, fault: Fault) -> None:
    assert f"{name}:" in fault("diagnose", "--gold", "gold.jsonl", "--pred", name)


@pytest.mark.parametrize("name", ["bad.jsonl", "empty.jsonl", "bytes.jsonl", "text.mp4", "lost.jsonl"])
def test_check_lists_what_is_wrong_and_ends_in_one(name: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("check", name) == 1
    printed = capsys.readouterr()
    assert f"{name}:" in printed.out
    assert "Traceback" not in printed.err


MER = ("benchmark", "mer-unibench", "--model", "m", "--data", "folder", "--out", "out")
MME = ("benchmark", "mme-emotion", "--model", "m", "--data", "folder", "--out", "out")
WRONG = [
    (("check", "none.jsonl"), "none.jsonl: no such file"),
    (("check", "folder"), "folder: is a directory"),
    (("check", "gold.jsonl", "--limit", "-1"), "--limit is -1"),
    (("check", "gold.jsonl", "--wheels", "zz"), "'zz'"),
    (("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--mode", "zz"), "pred.jsonl: no predictions of mode"),
    (
        ("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--json", "folder"),
        "folder: is a folder; give the name",
    ),
    (("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--json", "gold.jsonl/x"), "gold.jsonl"),
    (("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--json", ""), "--json .: is a folder"),
    (("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--json", ".."), "--json ..: is a folder"),
    (("check", "gold.jsonl", "--json", "./gold.jsonl"), "--json gold.jsonl would overwrite another file"),
    (("diagnose", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--json", "gold.jsonl"), "would overwrite"),
    (("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--json", "gold.jsonl"), "would overwrite"),
    (("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--json", "./pred.jsonl"), "would overwrite"),
    (("score", "--gold", "gold.jsonl", "--compare", "pred.jsonl", "pred.jsonl", "--json", "pred.jsonl"), "overwrite"),
    (("check", "gold.jsonl", "--json", "pred.jsonl"), "--json pred.jsonl is there and is not JSON; give another name"),
    (("diagnose", "theory", "--json", "pred.jsonl"), "--json pred.jsonl is there and is not JSON; give another name"),
    (("wheels", "compare", "builtin", "builtin", "--json", "pred.jsonl"), "--json pred.jsonl is there and is not JSON"),
    (("wheels", "tokens", "--model", "tiny", "--out", "pred.jsonl"), "--out pred.jsonl is there and is not JSON"),
    (("train", "minimer-sfd"), "minimer-sfd: no such recipe"),
    (("train", "none.yaml"), "none.yaml: cannot be read"),
    (("train", "folder"), "folder: cannot be read"),
    (("train", "mine.yaml", "optim.learning_rat=1"), "mine.yaml: optim.learning_rat: unknown key; did you mean"),
    (("train", "mine.yaml", "optim.batch_size=-1"), "mine.yaml: optim.batch_size: "),
    (("train", "mine.yaml", "model.source=llama"), "llama: cannot be loaded as a causal language model"),
    (("train", "mine.yaml", "model.source=torn"), "torn/config.json: not a model configuration"),
    (("train", "mine.yaml", "model.source=folder"), "folder: no checkpoint here"),
    (("predict", "--subtitle", "x", "--model", "llama"), "llama: cannot be loaded as a causal language model"),
    (("predict", "--subtitle", "x", "--model", "torn"), "torn/config.json: not a model configuration"),
    (("predict", "--subtitle", "x", "--model", "gold.jsonl"), "gold.jsonl: "),
    (("predict", "--subtitle", "x", "--model", "./none"), "./none: "),
    (("predict", "text.mp4"), "runs/quickstart/mer_r1: there is no run here yet"),
    (("predict",), "nothing to predict"),
    (("predict", "text.mp4", "--max-new-tokens", "-1"), "--max-new-tokens -1"),
    (("predict", "text.mp4", "--key-env", "KEY"), "--key-env goes with --url"),
    ((*MER, "--sets", " , "), "--sets ' , ' names nothing"),
    ((*MME, "--sets", ""), "--sets '' names nothing"),
    ((*MER, "--no-sound"), "--no-sound goes with --url"),
    ((*MME, "--served-as", "mine"), "--served-as goes with --url"),
    (("predict", "text.mp4", "--prompt-style", "brief"), "--prompt-style goes with --url"),
    (("predict", "text.mp4", "--num-frames", "4"), "--num-frames goes with --url"),
    (("predict", "text.mp4", "--url", "http://localhost:1/v1", "--served-as", "m"), "mer_r1: no model's folder"),
    (("predict", "text.mp4", "--url", "http://localhost:1/v1", "--prompt-style", "brif"), "'brif' is none of full"),
    (("predict", "text.mp4", "--url", "http://localhost:1/v1", "--fps", "-1"), "media budget: fps is -1.0"),
    ((*MER, "--url", "http://localhost:1/v1", "--workers", "0"), "num_workers from 1 to 64"),
    ((*MME, "--url", "http://localhost:1/v1", "--workers", "65"), "num_workers from 1 to 64"),
    (("synth", "out", "--num", "-5"), "--num -5"),
    (("synth", "out", "--seed", "-5"), "--seed -5"),
    (("synth", "out", "--seconds", "-5"), "--seconds -5"),
    (("synth", "out", "--workers", "-5"), "--workers -5"),
    (("synth", "gold.jsonl", "--num", "5"), "gold.jsonl"),
    (("synth", "corpus", "--num", "5"), "corpus: holds a corpus made with other settings"),
    (("quickstart", "--fast", "--out", "gold.jsonl"), "gold.jsonl"),
    (("quickstart", "--fast", "--out", "out", "--seed", "-1"), "--seed -1"),
    (("report", "none"), "none: no such folder"),
    (("report", "folder"), "folder: no run that can be read"),
    (("wheels", "show", "happy", "--wheels", "zz"), "'zz'"),
    (("score", "--gold", "none\n\x1b[2Jgold", "--pred", "pred.jsonl"), "none"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(words)[:50] for words, _ in WRONG])
def test_a_wrong_input_is_one_line_that_names_it(arguments: tuple[str, ...], message: str, fault: Fault) -> None:
    line = fault(*arguments)
    assert message in line
    assert "\x1b" not in line


USAGE = [
    ((), "COMMAND"),
    (("trian",), "'trian'"),
    (("score",), "--gold"),
    (("score", "--gold", "g.jsonl"), "one of the arguments --pred --compare is required"),
    (("score", "--gold", "g", "--pred", "p", "--compare", "a", "b"), "--compare: not allowed with argument --pred"),
    (("synth", "out", "--num", "many"), "argument --num: invalid int value: 'many'"),
    (("predict", "--mode", "medium"), "argument --mode: invalid choice: 'medium'"),
    (("wheels", "show"), "WORD"),
    (("train", "--dry-run"), "required: RECIPE;"),
    (("train", "mine.yaml", "--dry-run", "--lmit", "data.num=1"), "--lmit"),
    (("check", "gold.jsonl", "--lmit", "3"), "--lmit"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=[" ".join(words) for words, _ in USAGE])
def test_a_wrong_command_line_is_one_line_too_and_points_to_the_help(
    arguments: tuple[str, ...], message: str, fault: Fault
) -> None:
    line = fault(*arguments)
    assert message in line
    assert "--help" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "seed=5", "mine.yaml", "--dry-run", "--verbose"),
        ("train", "--dry-run", "--verbose", "seed=5", "mine.yaml"),
        ("train", "mine.yaml", "--dry-run", "--verbose", "--gpu", "h100", "seed=5"),
        ("train", "mine.yaml", "--gpus=1", "seed=5", "--dry-run", "--verbose"),
        ("train", "mine.yaml", "--dry-run", "--verbose", "--", "seed=5"),
    ],
    ids=" ".join,
)
def test_an_override_stands_anywhere(
    arguments: tuple[str, ...], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*arguments) == 0
    assert "seed: 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    "order",
    [
        ("zz", "--vary", "rl.objective=baseline", "--seeds", "0", "1", "rl.beta=0"),
        ("rl.beta=0", "zz", "--va", "rl.objective=baseline", "--seeds", "0"),
        ("--seeds", "0", "rl.beta=0", "--vary=rl.objective=baseline", "zz"),
    ],
    ids=" ".join,
)
def test_an_override_is_told_from_the_value_of_an_option(
    order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("mer_r1.pipelines.sweep.sweep", lambda *values: seen.append(values))
    assert status("sweep", *order, "--test", "t", "--out", "o") == 0
    source, vary, seeds, *_ = seen[0]
    assert (source, vary, seeds[0], seen[0][5]) == ("zz", "rl.objective=baseline", 0, ["rl.beta=0"])


def test_check_for_rl_takes_the_objective_and_for_sft_the_targets(
    files: Path, fault: Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": name, "subtitle": "x", "labels": [label]} for name, label in (("a", "happy"), ("b", "zzz"))]
    (files / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for arguments, num in ((("--for", "train"), 1), (("--for", "train", "--objective", "accuracy"), 0)):
        assert status("check", "m.jsonl", *arguments, "--json", "found.json") == 0
        assert json.loads((files / "found.json").read_text(encoding="utf-8"))["uncountable"]["rows"] == num
    assert "--objective goes with --for rl" in fault("check", "m.jsonl", "--objective", "accuracy")
    assert status("check", "m.jsonl", "--for", "sft") == 1
    assert capsys.readouterr().out.count("train the answers alone with sft.targets=[fast]") == 1
    assert status("check", "m.jsonl", "--for", "sft", "--target", "fast", "--for", "rl") == 0
    assert "--target goes with --for sft" in fault("check", "m.jsonl", "--for", "rl", "--target", "fast")
    assert "--target fats: no such kind of target" in fault("check", "m.jsonl", "--for", "sft", "--target", "fats")


MISTYPED = [
    (
        ("train", "mine.yaml", "--dryrun", "seed=5"),
        "--dryrun: no such option; did you mean --dry-run?; see mer-r1 train",
    ),
    (("train", "mine.yaml", "--optim.max_steps=3"), "written without dashes, optim.max_steps=VALUE"),
    (("train", "mine.yaml", "--optim.max_steps", "3"), "written without dashes, optim.max_steps=VALUE"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTYPED, ids=[" ".join(words) for words, _ in MISTYPED])
def test_an_unknown_option_says_what_was_meant(arguments: tuple[str, ...], message: str, fault: Fault) -> None:
    assert message in fault(*arguments)


def test_a_mistyped_override_says_what_was_meant(fault: Fault) -> None:
    for arguments, message in (
        (("max_steps=3",), "did you mean optim.max_steps?"),
        (("optim.max_stepps=3",), "did you mean 'max_steps'?"),
        (("optim.max_steps", "3"), "an override is written section.key=value"),
        (("optim.max_steps:3",), "an override is written section.key=value"),
    ):
        assert message in fault("train", "mine.yaml", "--dry-run", *arguments)


def test_the_users_folder_is_known_to_options_arguments_and_overrides(
    files: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a shell does not expand it: behind = and in quotes."""
    home = files / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "mine.yaml").write_text((files / "mine.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    overrides = ("kind=rl", "data.train=~/t.jsonl", "model.source=~/m", "rl.wheels=~/w")
    assert status("train", "~/mine.yaml", "--dry-run", "--verbose", "--rows", "9", *overrides) == 0
    printed = capsys.readouterr().out
    for name in ("t.jsonl", "m", "w"):
        assert f"{home}/{name}\n" in printed
    assert f"{home}/none.jsonl" in fault("check", "~/none.jsonl")
    assert f"{home}/none" in fault("score", "--gold=~/none", "--pred", "pred.jsonl")
    assert str(home) in fault("wheels", "show", "happy", "--wheels=~/none")


def test_a_list_of_arguments_continues_behind_an_option(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = status("train", "mine.yaml", "seed=5", "data.num=1", "--dry-run", "--verbose"), capsys.readouterr()
    assert "seed: 5" in before[1].out
    assert (
        status("train", "mine.yaml", "seed=5", "--dry-run", "--verbose", "data.num=1"),
        capsys.readouterr(),
    ) == before
    assert status("predict", "one.mp4", "--model", "nowhere", "two.mp4") == 2
    assert "unrecognized" not in capsys.readouterr().err


def no_space(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the/file")


def not_permitted(*_: object, **__: object) -> Any:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "the/file")


WRITING = [
    ("synth", "out", "--num", "5", "--seconds", "0.5", "--workers", "1"),
    ("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl", "--json", "out.json"),
]


@pytest.mark.parametrize("arguments", WRITING, ids=lambda arguments: str(arguments[0]))
@pytest.mark.parametrize(("replace", "message"), [(no_space, "no space left on the disk"), (not_permitted, "written")])
def test_a_full_disk_or_a_forbidden_folder_is_one_line_and_what_was_there_stays(
    arguments: tuple[str, ...],
    replace: Callable[..., Any],
    message: str,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "replace", replace)
    line = fault(*arguments)
    assert line.startswith("the/file: ")
    assert message in line


def test_ctrl_c_is_one_line_and_130(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mer_r1.display import wheels

    def show(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels, "print_words", show)
    assert status("wheels", "show", "happy") == 130
    assert capsys.readouterr().err == "mer-r1: stopped\n"


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "train"), ("transformers.models", "train"), ("jinja2", "report"), ("httpx", "judge")],
)
def test_a_missing_extra_names_the_line_that_installs_it(
    module: str, extra: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mer_r1.display import wheels

    def show(*_: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(wheels, "print_words", show)
    line = fault("wheels", "show", "happy")
    assert line == f"{module} is not installed; install it with: pip install 'mer-r1[{extra}]'"


def test_predict_without_torch_names_the_extra(files: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith(("mer_r1.models", "mer_r1.generation"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("models", "generation"):  # the package names them too, and is to name these again
        if name in vars(mer_r1):
            monkeypatch.setattr(mer_r1, name, vars(mer_r1)[name])
    assert "pip install 'mer-r1[train]'" in fault("predict", "--subtitle", "x", "--model", "llama")


def test_a_module_of_ours_that_is_missing_is_a_defect_and_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from mer_r1.display import wheels

    def show(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'mer_r1.lost'", name="mer_r1.lost")

    monkeypatch.setattr(wheels, "print_words", show)
    with pytest.raises(ModuleNotFoundError):
        status("wheels", "show", "happy")


def test_statuses_pass_through(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("wheels", "show", "happy") == 0
    assert status("wheels", "show", "qwerty") == 1
    assert status("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl") == 0


def process(*arguments: str, code: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-c", code] if code else ["-m", "mer_r1"]), *arguments]
    return subprocess.run(command, env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("score", "--gold", "gold.jsonl", "--pred", "pred.jsonl"),
        ("check", "gold.jsonl"),
        ("wheels", "show", "happy"),
        ("synth", "made", "--num", "5", "--seconds", "0.5", "--workers", "1"),
        ("train", "mine.yaml", "--dry-run"),
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_nothing_that_runs_without_a_model_loads_torch(arguments: tuple[str, ...], files: Path) -> None:
    code = """
import json, sys
from mer_r1.commands import main
try:
    status = main()
except SystemExit as end:
    status = end.code
print()
print(json.dumps([status, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
    done = process(*arguments, code=code, cwd=files)
    ended, modules = json.loads(done.stdout.splitlines()[-1])
    assert ended == 0, done.stdout + done.stderr
    assert not TORCH & set(modules)
    if arguments[0] in ("--help", "wheels"):  # these start in the time that the interpreter takes
        assert not {"numpy", "pydantic", "yaml", "av", "PIL", "openpyxl"} & set(modules)


@pytest.mark.slow
def test_the_module_and_the_command_are_the_same() -> None:
    by_module = process("--help")
    by_command = process(
        code="import sys; from mer_r1.commands import main; sys.argv[:] = ['mer-r1', '--help']; main()"
    )
    assert by_module.returncode == 0
    assert by_module.stdout == by_command.stdout
    script = Path(sys.executable).with_name("mer-r1")
    if script.exists():
        done = subprocess.run([script, "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True)
        assert done.stdout == by_module.stdout


@pytest.mark.slow
def test_a_process_ends_in_two_without_a_traceback(files: Path) -> None:
    done = process("score", "--gold", "none.jsonl", "--pred", "pred.jsonl", cwd=files)
    assert done.returncode == 2
    assert done.stderr.startswith("mer-r1: error: none.jsonl: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_in_a_process_group_is_one_line(files: Path) -> None:
    """Worker processes get the signal too, and keep quiet."""
    import signal
    import time

    command = [sys.executable, "-m", "mer_r1", "synth", "many", "--num", "5000", "--workers", "2"]
    job = subprocess.Popen(
        command,
        cwd=files,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    deadline = time.monotonic() + 60
    while not list(files.glob("many/clips/*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGINT)
    error = job.communicate(timeout=60)[1].decode()
    assert job.returncode == 130
    assert error == "mer-r1: stopped\n"
    assert not list(files.rglob(".*.tmp"))
    assert not (files / "many" / "corpus.json").exists()
