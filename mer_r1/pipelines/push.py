"""A run's model put on the Hugging Face Hub: its files, a card and its recipe, and nothing else.

What is uploaded is chosen by name from the model's folder (FILES); rollouts, predictions, data and checkpoints never
are. The card and the recipe are made anew for the place, without a path of this machine, and a text file in which such
a path stands is refused. Nothing is asked of the Hub before `upload`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mer_r1.errors import InputError, first_line
from mer_r1.evaluation.records import METRICS_FILE, RUN_FILE, MetricsRecord, RunRecord, ScoreRecord
from mer_r1.model_settings import looks_like_hub_id, model_folder
from mer_r1.recipe import Recipe, read_recipe_without_idle_keys
from mer_r1.text import printable
from mer_r1.training.model_card import CardScore, Published, card_text, portable_yaml

FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "spk_dict.pt")
"""Names of a model's files."""
CARD, RECIPE, ADAPTER = "README.md", "recipe.yaml", "adapter_config.json"
SCORE_FILE = "score.json"
MEASURES = ("f1", "precision", "recall", "accuracy", "waf")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LARGEST_TEXT = 50_000_000  # bytes
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")  # tokens may look like paths
_ABSOLUTE = re.compile(r"(?:~|/[^/\s]+|[A-Za-z]:[\\/][^\\/]+)[\\/]\S.*")


@dataclass(frozen=True)
class Piece:
    """A file of the repository: its name there, and its content, a file of this machine or bytes."""

    name: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Plan:
    """What goes where; `passed_over` are files of the model's folder that stay here."""

    hub_id: str
    pieces: tuple[Piece, ...]
    passed_over: tuple[str, ...]


def plan_push(
    run: str, hub_id: str, *, license: str = "", datasets: Sequence[str] = (), base_model: str | None = None
) -> Plan:
    """What a push of this run would upload. Reads files alone.

    `base_model` is the Hub id of the model that training began from, where the run does not know it. Raises InputError
    for a run without a finished model or recipe, ids that cannot be, an adapter whose base is on this machine alone,
    and a path of this machine in a text.
    """
    for name, ident in (("--to", hub_id), *(("--dataset", one) for one in datasets), ("--base-model", base_model)):
        if ident is not None and not (_HUB_ID.fullmatch(ident) and ".." not in ident and "--" not in ident):
            raise InputError(f"{name} {printable(ident)}: give an id of the Hub, OWNER/NAME")
    folder = Path(model_folder(run))
    home = next((place for place in (folder, folder.parent) if (place / RECIPE).is_file()), None)
    if not any((folder / name).is_file() for name in ("config.json", ADAPTER)):
        raise InputError(f"{run}: holds no finished model; give the folder of a run that has ended, or its `model`")
    if home is None:
        raise InputError(f"{run}: its recipe is not there ({RECIPE}); give the folder of a run, which holds it")
    recipe = read_recipe_without_idle_keys(str(home / RECIPE))[0]
    record = RunRecord.read(home / RUN_FILE)
    base = base_model or record.base_model
    record = record.replace(base_model=base, license=license or record.license)
    chosen = sorted({path for pattern in FILES for path in folder.glob(pattern) if path.is_file()})
    pieces = [Piece(path.name, path) for path in chosen if path.name != ADAPTER]
    if (folder / ADAPTER).is_file():
        pieces.append(Piece(ADAPTER, _adapter_config(folder, recipe, base_model)))
    published = Published(hub_id, tuple(datasets), tuple(read_scores(home)), home)
    pieces.append(Piece(CARD, card_text(folder, recipe, record, published).encode()))
    pieces.append(Piece(RECIPE, portable_yaml(recipe).encode()))
    for piece in pieces:
        _refuse_paths(piece, home)
    kept = {path.name for path in chosen} | {CARD, ADAPTER}
    passed_over = sorted(path.name for path in folder.iterdir() if path.name not in kept)
    return Plan(hub_id, tuple(sorted(pieces, key=lambda piece: piece.name)), tuple(passed_over))


def _adapter_config(folder: Path, recipe: Recipe, base_model: str | None) -> bytes:
    """The adapter's configuration, its base as an id of the Hub."""
    config: dict[str, Any] = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    base = base_model or str(config.get("base_model_name_or_path"))
    if Path(base).exists() or not looks_like_hub_id(base):
        base = str(recipe.model.source)
    if Path(base).exists() or not looks_like_hub_id(base):
        raise InputError(
            f"{folder}: its adapters belong to a model in a folder of this machine; push that model first and name it "
            "with --base-model, or make both one by mer-r1 export and push that"
        )
    return (json.dumps(config | {"base_model_name_or_path": base}, indent=2, sort_keys=True) + "\n").encode()


def _refuse_paths(piece: Piece, home: Path) -> None:
    """Raises InputError where a path of this machine stands in a text, or an absolute one in a JSON file's value."""
    if piece.name.endswith((".safetensors", ".model", ".pt")) or piece.size > _LARGEST_TEXT:
        return
    data = piece.content if isinstance(piece.content, bytes) else piece.content.read_bytes()
    for place in {Path.home(), Path.cwd(), home.absolute()}:
        if len(place.parts) > 1 and f"{place}{os.sep}".encode() in data:
            raise _path_found(piece, str(place))
    if piece.name.endswith(".json") and piece.name not in _VOCABULARIES:
        for text in _texts(json.loads(data)):
            if _ABSOLUTE.fullmatch(text):
                raise _path_found(piece, text)


def _path_found(piece: Piece, path: str) -> InputError:
    return InputError(
        f"{piece.name}: holds a path of a machine ({printable(path, 80)}); take it out, or write a relative one"
    )


def _texts(value: Any) -> Iterator[str]:
    """The texts among a JSON document's values, its keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def read_scores(home: Path) -> Iterator[CardScore]:
    """The scores that stand beside a run, for its card.

    RUN/score.json, as `mer-r1 score … --json` writes it, else the run's own part of a quickstart's metrics.json.
    """
    path = home / SCORE_FILE
    if path.is_file():
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            reports = report["modes"].values() if "modes" in report else [report]
            records = [ScoreRecord.of_report(one) for one in reports]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: not what `mer-r1 score --json` writes; write it again, or remove it") from None
    else:
        system = (MetricsRecord.read(home.parent / METRICS_FILE).systems or {}).get(home.name)
        records = [score for score in (system.slow, system.fast) if score is not None] if system else []
    for record in records:
        signature = dict(part.partition(":")[::2] for part in record.signature.split("|"))
        measures = {
            name: (value, *(record.bounds(name) or (None, None)))
            for name in MEASURES
            if (value := record.value(name)) is not None
        }
        if measures and signature.get("set"):
            yield CardScore(signature["set"], signature.get("mode", ""), measures, record.signature)


def upload(plan: Plan, token: str, *, private: bool = False) -> str:
    """Make the repository where it is not there, put the files into it in one commit, and return its address.

    Raises InputError where the Hub cannot be reached or refuses, and for `private` where it is public already.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    unreachable: type[Exception] = HfHubHTTPError.__bases__[0]  # the HTTP library is another one by version
    api = HfApi(token=token)
    adds = [
        CommitOperationAdd(piece.name, piece.content if isinstance(piece.content, bytes) else str(piece.content))
        for piece in plan.pieces
    ]
    try:
        address = api.create_repo(plan.hub_id, private=private or None, exist_ok=True)
        if private and not api.repo_info(plan.hub_id).private:
            raise InputError(f"{plan.hub_id} is there and public; give another --to, or leave --private out")
        api.create_commit(plan.hub_id, adds, commit_message="Model, card and recipe by mer-r1")
    except HfHubHTTPError as error:
        raise InputError(f"{plan.hub_id}: {_refusal(error)}") from None
    except (unreachable, OSError) as error:
        raise InputError(f"{api.endpoint}: cannot be reached ({first_line(error)}); try again while online") from None
    return str(address)


def _refusal(error: Any) -> str:
    status = getattr(error.response, "status_code", None)
    if status == 401:
        return "the Hub does not know this token; make one with the right to write at huggingface.co/settings/tokens"
    if status == 403:
        return "the token may not write there; take another owner or name, or a token with the right to write"
    if status == 409:
        return "the name is taken; give another --to"
    return f"the Hub refuses it ({first_line(error)})"


def hub_token(variable: str | None) -> str:
    """The token to write with: that of an environment variable, else the one that `hf auth login` keeps, or HF_TOKEN.

    Raises InputError where there is none.
    """
    if variable is not None:
        if token := os.environ.get(variable, "").strip():
            return token
        raise InputError(f"--token-env {printable(variable)}: the variable is not set; put a token of the Hub there")
    from huggingface_hub import get_token

    kept: str | None = get_token()
    if kept:
        return kept
    raise InputError("no token of the Hub; run `hf auth login`, set HF_TOKEN, or name a variable with --token-env")
