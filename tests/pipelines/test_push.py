"""A push uploads the model, its card and its recipe and nothing else; what the Hub refuses is one line.

The Hub is a small HTTP server here that takes every file within the commit, so how large files travel is not tested.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from mer_r1.commands import main
from mer_r1.errors import InputError
from mer_r1.evaluation.records import RunRecord
from mer_r1.pipelines.push import hub_token, plan_push, read_scores, upload
from mer_r1.recipe import Recipe

REPORT = {
    "signature": "set:test|n:10|mode:slow",
    "f1": 0.5,
    "precision": 0.6,
    "intervals": {"f1": [0.4, 0.6]},
}


@dataclass
class Hub:
    """What the server was sent, and how it answers: the status of making a repository, whether it is private."""

    status: int = 200
    private: bool = True
    created: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self, value: Any, status: int = 200) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._answer({"id": "me/toy", "private": state.private, "siblings": [], "tags": []}, state.status)

        def do_POST(self) -> None:
            state.tokens.add(self.headers.get("Authorization", ""))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/api/repos/create":
                state.created.append(json.loads(body))
                self._answer({"url": f"{address}/me/toy", "error": "no"}, state.status)
            elif self.path == "/api/validate-yaml":
                self._answer({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                names = [item["path"] for item in json.loads(body)["files"]]
                self._answer(
                    {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
                )
            elif "/commit/" in self.path:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        state.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self._answer({"commitUrl": f"{address}/me/toy/commit/1", "commitOid": "1", "pullRequestUrl": None})
            else:
                self._answer({"error": "not here"}, 404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with what must not travel beside and within its model's folder."""
    folder = tmp_path / "runs" / "mine"
    (folder / "model").mkdir(parents=True)
    recipe = Recipe.model_validate(
        {
            "kind": "sft",
            "model": {"source": "Qwen/Qwen2.5-Omni-3B"},
            "data": {"train": str(tmp_path / "secret" / "train.jsonl")},
            "optim": {"learning_rate": 1e-5},
        }
    )
    (folder / "recipe.yaml").write_text(recipe.as_yaml())
    RunRecord(kind="sft", status="finished", rows=10).write(folder / "run.json")
    for name in ("rollouts.jsonl", "predictions.jsonl", "model/notes.md", "model/optimizer.pt"):
        (folder / name).write_text("stays here")
    (folder / "model" / "model.safetensors").write_bytes(bytes(100))
    (folder / "model" / "config.json").write_text('{"architectures": ["Qwen2_5OmniModel"]}')
    (folder / "model" / "README.md").write_text("an earlier card")
    return folder


def texts(plan: Any) -> dict[str, str]:
    return {piece.name: piece.content.decode() for piece in plan.pieces if isinstance(piece.content, bytes)}


@pytest.mark.slow
def test_the_model_its_card_and_its_recipe_are_uploaded_and_nothing_else(run: Path, hub: Hub, tmp_path: Path) -> None:
    plan = plan_push(str(run), "me/toy", license="apache-2.0", datasets=("me/clips",))
    assert [piece.name for piece in plan.pieces] == ["README.md", "config.json", "model.safetensors", "recipe.yaml"]
    assert plan.passed_over == ("notes.md", "optimizer.pt")
    assert upload(plan, "hf_secret", private=True).endswith("/me/toy")
    assert {*hub.files} == {piece.name for piece in plan.pieces}
    assert hub.files["model.safetensors"] == bytes(100)
    assert hub.tokens == {"Bearer hf_secret"}
    (made,) = hub.created
    assert made["name"] == "toy"
    assert made.get("private") is True or made.get("visibility") == "private"
    card = hub.files["README.md"].decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["base_model"], front["license"]) == ("Qwen/Qwen2.5-Omni-3B", "apache-2.0")
    assert front["datasets"] == ["me/clips"]
    assert 'from_pretrained("me/toy"' in card
    sent = b"".join(data for name, data in hub.files.items() if name != "model.safetensors")
    assert str(tmp_path).encode() not in sent
    assert b"secret" not in sent


def test_scores_beside_the_run_get_into_its_card(run: Path) -> None:
    assert [*read_scores(run)] == []
    (run / "score.json").write_text(json.dumps({"modes": {"slow": REPORT}}))
    (score,) = read_scores(run)
    assert (score.set, score.mode) == ("test", "slow")
    assert dict(score.measures) == {"f1": (0.5, 0.4, 0.6), "precision": (0.6, None, None)}
    assert "| test | slow | 50.00 [40.00, 60.00] | 60.00 |" in texts(plan_push(str(run), "me/toy"))["README.md"]
    (run / "score.json").write_text("[]")
    with pytest.raises(InputError, match=r"score\.json: not what `mer-r1 score --json` writes"):
        plan_push(str(run), "me/toy")
    (run / "score.json").unlink()
    (run.parent / "metrics.json").write_text(json.dumps({"systems": {"mine": {"slow": REPORT}}}))
    assert [score.mode for score in read_scores(run)] == ["slow"]


def test_an_adapter_names_its_base_by_an_id_of_the_hub(run: Path) -> None:
    config = run / "model" / "adapter_config.json"
    for base in ("Qwen/Qwen2.5-Omni-3B", "/home/somebody/models/omni", str(run.parent)):
        config.write_text(json.dumps({"base_model_name_or_path": base, "r": 8}))
        made = json.loads(texts(plan_push(str(run), "me/toy"))["adapter_config.json"])
        assert made == {"base_model_name_or_path": "Qwen/Qwen2.5-Omni-3B", "r": 8}
    recipe = (run / "recipe.yaml").read_text().replace("Qwen/Qwen2.5-Omni-3B", "runs/sft")
    (run / "recipe.yaml").write_text(recipe)
    with pytest.raises(InputError, match="push that model first and name it with --base-model"):
        plan_push(str(run), "me/toy")
    plan = plan_push(str(run), "me/toy", base_model="me/sft")
    assert json.loads(texts(plan)["adapter_config.json"])["base_model_name_or_path"] == "me/sft"
    assert "base_model: me/sft" in texts(plan)["README.md"]


@pytest.mark.parametrize("path", ["{run}/model", "/data/alice/base", "~/models/base", "C:\\models\\base"])
def test_a_path_of_a_machine_is_refused(path: str, run: Path) -> None:
    (run / "model" / "config.json").write_text(json.dumps({"parts": [{"_name_or_path": path.format(run=run)}]}))
    with pytest.raises(InputError, match=r"config\.json: holds a path of a machine"):
        plan_push(str(run), "me/toy")


@pytest.mark.parametrize("to", ["toy", "me/toy/x", "../toy", "me/..", "https://hub/me", ""])
def test_an_id_that_cannot_be_is_named(to: str, run: Path) -> None:
    with pytest.raises(InputError, match="give an id of the Hub, OWNER/NAME"):
        plan_push(str(run), to)


def test_a_run_without_a_model_or_a_recipe_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished model"):
        plan_push(str(tmp_path), "me/toy")
    (run / "recipe.yaml").unlink()
    with pytest.raises(InputError, match="its recipe is not there"):
        plan_push(str(run), "me/toy")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "the Hub does not know this token"), (403, "the token may not write there"), (500, "the Hub refuses it")],
)
def test_what_the_hub_refuses_is_one_line(
    status: int, reason: str, run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status = status
    monkeypatch.setenv("MINE", "hf_secret")
    assert main(["push", str(run), "--to", "me/toy", "--token-env", "MINE"]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert "hf_secret" not in error
    assert hub.files == {}


def test_private_is_not_put_into_a_public_repository(run: Path, hub: Hub) -> None:
    hub.status, hub.private = 200, False
    with pytest.raises(InputError, match="is there and public"):
        upload(plan_push(str(run), "me/toy"), "hf_secret", private=True)
    assert hub.files == {}


def test_without_a_network_or_a_token_nothing_is_lost(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    monkeypatch.delenv("MINE", raising=False)
    assert main(["push", str(run), "--to", "me/toy"]) == 2
    assert "no token of the Hub; run `hf auth login`" in capsys.readouterr().err
    with pytest.raises(InputError, match="the variable is not set"):
        hub_token("MINE")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be reached"):
        upload(plan_push(str(run), "me/toy"), "hf_secret")


def test_a_dry_run_shows_the_files_and_asks_nothing(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run), "--to", "me/toy", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("model.safetensors", "README.md", "recipe.yaml", "a dry run"))
    assert "not uploaded: notes.md, optimizer.pt" in out
    assert (hub.created, hub.files) == ([], {})
