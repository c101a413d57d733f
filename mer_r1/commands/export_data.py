"""`mer-r1 export-data`: a manifest as other trainers read it, with the texts that ours shows and teaches."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import Commands, add_command, add_mode_option, modes_of


def add(commands: Commands) -> None:
    """Add `mer-r1 export-data`."""
    text = "Write a manifest for LLaMA-Factory, ms-swift or TRL, or as a Hugging Face data set."
    parser = add_command(commands, "export-data", text, _run)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="what to write")
    parser.add_argument("--to", required=True, choices=("llama-factory", "ms-swift", "trl", "hf"), help="the format")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write into")
    parser.add_argument("--name", help="the data set's name there, or its split's (default: the manifest's)")
    group = parser.add_argument_group("prompts and responses (not with --to hf)")
    group.add_argument(
        "--for",
        dest="purpose",
        choices=("sft", "rl"),
        default="sft",
        help="with responses, or prompts with columns for reward functions (default %(default)s)",
    )
    add_mode_option(group, "slow")
    group.add_argument(
        "--prompt-style", default="full", metavar="STYLE", help="the prompt template (default %(default)s)"
    )
    media = parser.add_argument_group("media")
    media.add_argument("--extract-sound", action="store_true", help="write the sound of films as WAV files")
    media.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="trl: N pictures of every film, for it reads no films (default: films are an error)",
    )


def _run(options: argparse.Namespace) -> int:
    from mer_r1.display.exported import print_exported
    from mer_r1.exporters.examples import Choice
    from mer_r1.exporters.export import export_data

    choice = Choice(options.purpose, modes_of(options), options.fast, options.prompt_style, options.frames)
    exported = export_data(
        options.manifest, options.to, options.out, choice, name=options.name, sounds=options.extract_sound
    )
    print_exported(exported)
    return 1 if exported.left_out.ids else 0
