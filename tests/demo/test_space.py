"""The folder of a Space: it holds all that it needs, starts, and names no folder of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from mer_r1.commands import main
from mer_r1.demo.space import write_space
from mer_r1.errors import InputError

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")


@pytest.fixture(scope="module")
def space(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_space(tmp_path_factory.mktemp("space") / "demo", str(tiny_folder))


def test_the_folder_holds_the_package_the_model_and_what_to_install(space: Path, tiny_folder: Path) -> None:
    assert (space / "mer_r1" / "demo" / "style.css").is_file()
    assert (space / "model" / "model.safetensors").read_bytes() == (tiny_folder / "model.safetensors").read_bytes()
    assert not list(space.rglob("__pycache__"))
    required = (space / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("gradio") for line in required)
    assert any(line.startswith("torch>=") for line in required)
    assert not any(line.startswith(("pytest", "vllm", "datasets", "mer-r1")) or ";" in line for line in required)
    _, front, text = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(front)
    assert (facts["sdk"], facts["app_file"]) == ("gradio", "app.py")
    assert facts["sdk_version"].startswith("6.")
    assert "A toy" in text
    for name in ("README.md", "app.py", "requirements.txt"):
        assert str(tiny_folder.parent) not in (space / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_folder_alone_serves_the_page(space: Path, tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = os.environ | {"GRADIO_SERVER_PORT": port, "GRADIO_SERVER_NAME": "127.0.0.1", "TMPDIR": str(tmp_path)}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-W", "ignore", "app.py"]
    with subprocess.Popen(command, cwd=space, env=environment, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert f"127.0.0.1:{port}" in process.stdout.readline()
        loaded = httpx.get(f"http://127.0.0.1:{port}/")
        process.terminate()
        assert process.wait(60) == 130
    assert "mer-r1 demo" in loaded.text
    assert not list(tmp_path.glob("mer-r1-demo-*")), "uploads are removed when it is told to end"


def test_a_folder_that_is_there_is_left_alone(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="is there already; give the name of a new folder"):
        write_space(tmp_path, str(tiny_folder))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_hub_id_is_left_to_the_space(tmp_path: Path) -> None:
    made = write_space(tmp_path / "space", "Qwen/Qwen2.5-Omni-3B")
    assert not (made / "model").exists()
    assert "MODEL = 'Qwen/Qwen2.5-Omni-3B'" in (made / "app.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nowhere"], "nowhere"),
        (["--model", "runs/quickstart/mer_r1"], "run `mer-r1 quickstart`"),
        (["--port", "70000"], "--port 70000: give a number from 1 to 65535"),
        (["--space", "x", "--url", "http://127.0.0.1:1/v1"], "--space: goes without --url"),
        (["--space", "x", "--fast", "prompt"], "--space: goes without --fast, --max-new-tokens, --engine and --quant"),
        (["--space", "x", "--quantization", "int8"], "add them to its app.py"),
        (["--space", "x", "--max-new-tokens", "9"], "add them to its app.py"),
        (["--key-env", "KEY"], "--key-env goes with --url"),
        (["--max-new-tokens", "0"], "give 1 or more"),
    ],
)
def test_a_wrong_command_is_one_line_before_anything_is_loaded(
    arguments: list[str],
    said: str,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in arguments else ["--model", str(tiny_folder)]
    assert main(["demo", *model, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_without_gradio_the_extra_is_named(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mer_r1.demo.serve.find_spec", lambda name: None)
    assert main(["demo", "--model", str(tiny_folder)]) == 2
    assert "gradio is not installed; install it with: pip install 'mer-r1[demo]'" in capsys.readouterr().err
