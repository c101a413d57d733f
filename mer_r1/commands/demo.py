"""`mer-r1 demo`: a page that answers clips which are dropped on it or recorded."""

from __future__ import annotations

import argparse
from pathlib import Path

from mer_r1.commands.options import (
    DEFAULT_LENGTH,
    Commands,
    add_command,
    add_length_option,
    add_service_options,
    engine_of,
    service_of,
)
from mer_r1.errors import InputError


def add(commands: Commands) -> None:
    """Add `mer-r1 demo`."""
    text = "A page on this machine: drop a clip or record one, and see it answered fast and slow."
    parser = add_command(commands, "demo", text, _run)
    parser.add_argument(
        "--model",
        default="runs/quickstart/mer_r1",
        help="a run, a checkpoint's folder or a Hub id; with --url the model's name there (default %(default)s)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind; others reach 0.0.0.0 (default %(default)s)"
    )
    parser.add_argument("--port", type=int, metavar="N", help="port to bind (default the first free one from 7860)")
    parser.add_argument(
        "--space",
        type=Path,
        metavar="DIR",
        help="write a folder that runs as a Hugging Face Space, with the model in it (default: a page is served)",
    )
    parser.add_argument(
        "--fast",
        choices=("prefill", "prompt"),
        default="prefill",
        help="fast thinking by an empty reasoning that is written for the model, or by a prompt for the answer alone "
        "(default %(default)s)",
    )
    add_length_option(parser)
    add_service_options(parser)


def _run(options: argparse.Namespace) -> int:
    service, engine = service_of(options), engine_of(options)
    from mer_r1.data.files import require_place
    from mer_r1.demo.address import require_address

    if options.space is None:
        require_address(options.host, options.port)
    else:
        require_place("--space", options.space / "app.py")
    from mer_r1.demo.model import open_model
    from mer_r1.demo.serve import require_gradio, serve
    from mer_r1.generation.make import LOCAL, validate_generator

    validate_generator(options.model, service, max_new_tokens=options.max_new_tokens, fast=options.fast, engine=engine)
    require_gradio()
    if options.space is not None:
        if service is not None:
            raise InputError("--space: goes without --url; a Space runs the model itself")
        if (options.fast, options.max_new_tokens, engine) != ("prefill", DEFAULT_LENGTH, LOCAL):
            raise InputError(
                "--space: goes without --fast, --max-new-tokens, --engine and --quantization; add them to its app.py"
            )
        from mer_r1.demo.space import write_space

        print(write_space(options.space, options.model))
        return 0
    model = open_model(options.model, service, max_new_tokens=options.max_new_tokens, fast=options.fast, engine=engine)
    serve(model, options.host, options.port)
    return 0
