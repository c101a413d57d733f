"""The benchmark of the page runs small and prints what it promises. Its times are not looked at."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "perf"


@pytest.mark.slow
def test_report_page_prints_times_sizes_and_bars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("report_page")
    looked: list[Path] = []

    def looks(page: Path) -> dict[str, float | None]:
        looked.append(page)
        return {"open_s": 2.5, "filter_ms": None}

    monkeypatch.setattr(module, "in_chromium", looks)
    module.main(["--samples", "12", "--folder", str(tmp_path)])
    result = json.loads(capsys.readouterr().out)
    assert looked == [tmp_path / "report.html"]
    assert (result["samples"], result["answers"]) == (12, 48)
    assert min(result["render_s"], result["peak_mb"], result["page_mb"]) > 0
    assert [bar["kept"] for bar in result["bars"].values()] == [False, None]
