"""The page as a process, for Gradio leaves sockets and loops behind; and a browser with a camera.

Both end with this folder's tests: an open page keeps a tenth of a core busy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.report.browser_page import chromium

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

ROOT = Path(__file__).parents[2]
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="package")
def camera_driver() -> Iterator[WebDriver]:
    """A headless Chromium with a camera and a microphone that are not there."""
    with chromium(arguments=FAKE_CAMERA) as made:
        yield made


@pytest.fixture(scope="package")
def uploads_at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server makes the folder of its uploads."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="package")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server writes on standard error."""
    return tmp_path_factory.mktemp("log") / "stderr.txt"


@pytest.fixture(scope="package")
def served(uploads_at: Path, server_log: Path) -> Iterator[str]:
    """The address of a page whose answers are scripted; see `scripted.Scripted`."""
    if find_spec("gradio") is None:  # it is the server that imports it, for three seconds
        pytest.skip("gradio is not installed")
    command = [sys.executable, "-W", "ignore", "-m", "tests.demo.scripted"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(uploads_at)}
    with server_log.open("w") as errors, subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address, server_log.read_text()
        yield address
        process.stdin.close()
        assert process.wait(60) == 0, server_log.read_text()
    assert not list(uploads_at.iterdir()), "the uploads are gone with the server"
