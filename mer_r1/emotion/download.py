"""Fetches the published wheels from their authors' repositories, each file checked against its known SHA-256.

    official    github zeroQiaoba/AffectGPT, AffectGPT/emotion_wheel
    mer2026     format.csv from github zeroQiaoba/MERTools, MER2026/MER2026_Track2/emotion_wheel; the rest as official

both at one fixed commit. A file is written whole, or not at all, and only when its hash is right. Nothing of it is part
of this package; the files keep their authors' licence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib import request
from urllib.error import HTTPError

from mer_r1.data.files import atomic_path
from mer_r1.emotion.official import PINNED, published_folder
from mer_r1.emotion.tables import MAX_FILE_BYTES
from mer_r1.errors import InputError
from mer_r1.text import printable

BASE_URLS: Mapping[str, str] = {
    "official": "https://raw.githubusercontent.com/zeroQiaoba/AffectGPT/"
    "fffca794c6792023234565370e3f69f0488aede9/AffectGPT/emotion_wheel",
    "mer2026": "https://raw.githubusercontent.com/zeroQiaoba/MERTools/"
    "1052cb82fb05b91f821bd197de5bb123fcc9b0e3/MER2026/MER2026_Track2/emotion_wheel",
}
TIMEOUT_S = 20.0
"""For a connection, and between two pieces of a file; a whole file may take six times that."""


@dataclass(frozen=True)
class Fetched:
    """One file that is now in place, and how: fetched, copied from one with the same hash, or there already."""

    path: Path
    how: Literal["fetched", "copied", "there already"]


def download(
    names: Sequence[str], folder: Path | None = None, base_urls: Mapping[str, str] = BASE_URLS
) -> Iterator[Fetched]:
    """Put the files of "official" and "mer2026" in place, one after the other, each yielded as it is done.

    They go to FOLDER/official and FOLDER/mer2026; without a folder to the user's cache, where `--wheels official` finds
    them. A wrong file there is fetched again; in a folder of the user's own it is not touched but refused.

    Raises InputError for an unknown name, a file that cannot be fetched or is not the published one, and a foreign file
    in the way.
    """
    if unknown := [name for name in names if name not in PINNED]:
        raise InputError(f"wheels {', '.join(map(repr, unknown))} cannot be fetched; use one of: {', '.join(PINNED)}")
    return _download(names, folder, base_urls)


def _download(names: Sequence[str], folder: Path | None, base_urls: Mapping[str, str]) -> Iterator[Fetched]:
    folders = {name: published_folder(name) if folder is None else folder / name for name in PINNED}
    for name in names:
        for file, pinned in PINNED[name].items():
            path = folders[name] / file
            data = pinned_bytes(path, pinned)
            if data is not None:
                yield Fetched(path, "there already")
                continue
            if folder is not None and path.exists():
                raise InputError(
                    f"{path}: in the way, for it is not the published file; move it or give another folder"
                )
            others = (pinned_bytes(other / file, pinned) for other in folders.values())
            data = next((other for other in others if other is not None), None)
            how: Literal["copied", "fetched"] = "fetched" if data is None else "copied"
            if data is None:
                absent = [
                    other for other, its in PINNED[name].items() if pinned_bytes(path.parent / other, its) is None
                ]
                by_hand = (
                    f"put {', '.join(absent)} into {path.parent} by hand (docs/wheels.md has the addresses), or give a "
                    "folder that has them: --wheels DIR"
                )
                first = next(other for other, files in PINNED.items() if files[file] == pinned)  # that has this file
                data = fetch_pinned(f"{base_urls[first]}/{file}", pinned, by_hand)
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
            yield Fetched(path, how)


def pinned_bytes(path: Path, pinned: str) -> bytes | None:
    """The content of a file whose SHA-256 is `pinned`, else None."""
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_FILE_BYTES)
    except OSError:
        return None
    return data if sha256(data).hexdigest() == pinned else None


def fetch_pinned(url: str, pinned: str, by_hand: str) -> bytes:
    """The file at an address, whose SHA-256 is `pinned`. Raises InputError, which ends with the way out `by_hand`."""
    name = url.rpartition("/")[2]
    try:
        data = _get(url)
    except HTTPError as error:
        error.close()
        raise InputError(f"{name}: not fetched from {url} (status {error.code}); {by_hand}") from None
    except (OSError, HTTPException) as error:
        reason = printable(getattr(error, "reason", None) or error or type(error).__name__)
        raise InputError(f"{name}: not fetched from {url} ({reason}); {by_hand}") from None
    found = sha256(data).hexdigest()
    if found != pinned:
        raise InputError(
            f"{name}: {url} gave another file than the published one (SHA-256 {found[:12]}..., not "
            f"{pinned[:12]}...); {by_hand}"
        )
    return data


def _get(url: str) -> bytes:
    """The body at an http(s) address; redirects to any other scheme are refused. Raises OSError or HTTPException."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    deadline = time.monotonic() + 6 * TIMEOUT_S
    with opener.open(request.Request(url, headers={"User-Agent": "mer-r1"}), timeout=TIMEOUT_S) as response:
        data = bytearray()
        while piece := response.read1(65_536):
            data += piece
            if len(data) > MAX_FILE_BYTES:
                raise OSError(f"larger than {MAX_FILE_BYTES // 1_000_000} MB")
            if time.monotonic() > deadline:
                raise TimeoutError("too slow")
    return bytes(data)
