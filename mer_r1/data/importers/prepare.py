"""A table turned into a manifest: read, columns chosen, media found, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mer_r1.data.files import Kind, atomic_path, validate_outputs, write_text
from mer_r1.data.importers import read_table
from mer_r1.data.importers.columns import Columns, choose_columns
from mer_r1.data.importers.mapping import read_mapping
from mer_r1.data.importers.media_files import MediaFiles
from mer_r1.data.importers.samples import Imported, Wishes, read_samples
from mer_r1.data.importers.table import Choice, Table
from mer_r1.data.manifest import MEDIA_KEYS, write_manifest
from mer_r1.data.table_names import ENDINGS
from mer_r1.errors import InputError
from mer_r1.text import printable


@dataclass(frozen=True)
class Request:
    """What `prepare table` is asked: the source, where its media are, which column is which field.

    `columns` maps a field to a column's name, as choose_columns takes it. `candidates` are labels with commas between,
    or "all". `missing` is a file for the whole list of rows without media.
    """

    source: str
    out: Path | None = None
    media: Path | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    mapping: Path | None = None
    candidates: str | None = None
    choice: Choice = field(default_factory=Choice)
    missing: Path | None = None


@dataclass(frozen=True)
class PreparedTable:
    """A table as it was read, its columns, and what came of its rows."""

    table: Table
    columns: Columns
    imported: Imported


def prepare_table(request: Request, *, dry_run: bool = False) -> PreparedTable:
    """Read a table and write its manifest, and embedded media beside it; a dry run writes nothing.

    Raises InputError for a table, a column or a row that is wrong, and where no row has its media.
    """
    out = request.out
    if out is None and not dry_run:
        raise InputError("--out MANIFEST is needed, the file to write; or --dry-run to see what it would hold")
    outputs: dict[str, tuple[Path | None, Kind]] = {
        "--out": (out, "JSON lines"),
        "--missing": (request.missing, "a list of missing files"),
    }
    validate_outputs(outputs, (Path(request.source), request.mapping))
    if out is not None:
        _check_out(out)
    mapping = None if request.mapping is None else read_mapping(request.mapping)
    table = read_table(request.source, request.choice)
    validate_outputs(outputs, (table.path,))  # of a folder it is the file that was found there
    columns = choose_columns(table, request.columns)
    media = _media_files(request, table, columns)
    embedded = (out or Path("manifest.jsonl")).with_suffix("")
    wishes = Wishes(mapping, request.candidates, embedded.with_name(f"{embedded.name}_media"))
    imported = read_samples(table, columns, media, wishes)
    if not imported.samples:
        first = imported.missing[0]
        hint = "" if any(kind in columns for kind in MEDIA_KEYS) or "id" not in columns else _hint(columns)
        raise InputError(
            f"none of {imported.num_rows:,} rows has its media; the first, {first.path}: {first.why}{hint}"
        )
    if not dry_run:
        assert out is not None
        _write(request, out, imported)
    return PreparedTable(table, columns, imported)


def _hint(columns: Columns) -> str:
    return (
        f"; the ids are those of {printable(columns['id'])}: say another column, --id COL, or several that make one, "
        "--id '{A}_{B}'"
    )


def _check_out(out: Path) -> None:
    """Raises InputError for a name that is no manifest's."""
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the path of the manifest to write, such as {out / 'manifest.jsonl'}")
    if out.suffix.lower() in ENDINGS:
        raise InputError(f"--out {out}: a manifest is JSON lines; end its name in .jsonl")


def _media_files(request: Request, table: Table, columns: Columns) -> MediaFiles:
    if request.media is not None and not request.media.is_dir():
        raise InputError(f"--media {request.media}: no such folder; give the folder that holds the clips")
    has_paths = any(kind in columns for kind in MEDIA_KEYS)
    if request.media is not None and not has_paths and "id" not in columns:
        raise InputError(
            f"{table.path}: no column of ids or of media files among {printable(', '.join(table.columns), 300)}, which "
            "are the cells of the first row; say which: --id COL, --video COL"
        )
    if request.media is None and not has_paths and "subtitle" not in columns:
        raise InputError(
            f"{table.path}: no column of media files or of words among {printable(', '.join(table.columns), 300)}; "
            "give --media DIR to find clips by their ids, or say which column: --video COL, --subtitle COL"
        )
    return MediaFiles(request.media or table.folder, table.folder, searched=request.media is not None)


def _write(request: Request, out: Path, imported: Imported) -> None:
    if request.missing is not None:
        write_text(request.missing, "".join(f"{file.path}\t{file.why}\n" for file in imported.missing))
    for path, medium in imported.embedded.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(medium.read())
    write_manifest(out, imported.samples)
