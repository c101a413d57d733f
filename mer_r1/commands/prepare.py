"""`mer-r1 prepare`: an owners' folder, or anybody's table, turned into a manifest, with a list of what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command, add_kind


def add(commands: Commands) -> None:
    """Add `mer-r1 prepare` with its kind `table`."""
    text = "Turn a data set's folder, as its owners distribute it, or a table of your own into a manifest."
    parser = add_command(commands, "prepare", text, _run)
    parser.add_argument(
        "name",
        metavar="NAME",
        help="mer-unibench, or one of it (ovmerdplus, mer2023, mer2024, meld, iemocap, mosi, mosei, sims, simsv2), "
        "mer-caption, mme-emotion; of pictures emoset, emotion6, emotion6-folders, webemo, webemo-25, webemo-2; or "
        "table, which has options of its own: mer-r1 prepare table --help",
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the folder that holds the owners' one")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="the manifest to write; a folder for mer-unibench (NAME.jsonl) and mer-caption",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of mer-caption's split, and of what --num chooses (default 0)"
    )
    parser.add_argument("--sft-num", type=int, metavar="N", help="mer-caption: clips in sft.jsonl (default 5000)")
    parser.add_argument(
        "--split", choices=("train", "val", "test"), help="which part of a data set of pictures (default test)"
    )
    parser.add_argument(
        "--num", type=int, metavar="N", help="data sets of pictures: N of them, chosen by --seed (default all)"
    )
    parser.add_argument(
        "--missing",
        type=Path,
        metavar="FILE",
        help="write the list of all missing files there (default: it is only counted)",
    )
    _add_table(parser)


def _add_table(prepare: argparse.ArgumentParser) -> None:
    text = (
        "Turn a table of your own into a manifest: CSV, TSV, JSON, JSON lines, Parquet, Excel, a saved Hugging Face "
        "data set or its id on the Hub, chats of LLaMA-Factory and ms-swift, MER-Factory's output, or a folder of "
        "pictures or clips (docs/data.md)."
    )
    parser = add_kind(prepare, "table", text, _run_table)
    parser.add_argument("source", metavar="SOURCE", help="the table: a file, a folder, or a data set's id on the Hub")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="MANIFEST",
        help="the manifest to write, JSON lines (default: none, with --dry-run alone)",
    )
    parser.add_argument(
        "--media",
        type=Path,
        metavar="DIR",
        help="the folder below which media are found, by the paths in the table or by ids (default the table's own, "
        "for paths)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the columns and five samples, write nothing")
    fields = parser.add_argument_group("which column is which field (default: guessed; none: not read)")
    for name, help_ in (
        ("id", "the clip's id, or several columns: 'dia{Dialogue_ID}_utt{Utterance_ID}'"),
        ("video", "paths or names of videos"),
        ("audio", "paths or names of sound files"),
        ("image", "paths or names of pictures"),
        ("subtitle", "the words that are spoken"),
        ("labels", "emotion words, one or several a cell; or several columns of words or of 0 and 1: happy,sad,anger"),
        ("valence", "a number, in the table's own scale"),
        ("reasoning", "the text that a slow answer is taught by"),
    ):
        fields.add_argument(f"--{name}", metavar="COL", help=help_)
    fields.add_argument("--speaker", dest="cluster", metavar="COL", help="what rows have in common, the field cluster")
    more = parser.add_argument_group("labels (default: as they are)")
    more.add_argument(
        "--mapping", type=Path, metavar="FILE", help="what each label is called here: CSV, JSON or YAML, label -> words"
    )
    more.add_argument(
        "--candidates", metavar="A,B,…", help="labels that an answer is chosen from; all: every label of the table"
    )
    files = parser.add_argument_group("files (default: the only one there is)")
    files.add_argument("--sheet", metavar="NAME", help="the sheet of an Excel workbook with several")
    files.add_argument("--split", metavar="NAME", help="the split of a data set with several")
    files.add_argument(
        "--encoding", metavar="NAME", help="encoding of a text file (default: UTF-8, UTF-16 or cp1252, as it is)"
    )
    files.add_argument(
        "--missing",
        type=Path,
        metavar="FILE",
        help="write the list of all rows without media there (default: they are only counted)",
    )


def _run(options: argparse.Namespace) -> int:
    from mer_r1.benchmarks.prepare import Part, prepare
    from mer_r1.display.prepare import print_prepared

    part = Part(options.split, options.num, options.sft_num, options.seed)
    prepared = prepare(options.name, options.root, options.out, part, options.missing)
    print_prepared(prepared)
    return 0 if prepared.is_whole else 1


def _run_table(options: argparse.Namespace) -> int:
    from rich.console import Console

    from mer_r1.data.importers.columns import OPTIONS
    from mer_r1.data.importers.prepare import Request, prepare_table
    from mer_r1.data.importers.table import Choice
    from mer_r1.display.imported import print_table

    given = {field: getattr(options, field) for field in OPTIONS}
    request = Request(
        options.source,
        options.out,
        options.media,
        given,
        options.mapping,
        options.candidates,
        Choice(options.sheet, options.split, options.encoding),
        options.missing,
    )
    prepared = prepare_table(request, dry_run=options.dry_run)
    print_table(prepared, options.out, Console(), dry_run=options.dry_run)
    return 1 if prepared.imported.missing else 0
