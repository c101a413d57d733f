"""`mer-r1 push`: a run's model, its card and its recipe to the Hugging Face Hub."""

from __future__ import annotations

import argparse

from mer_r1.commands.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add `mer-r1 push`."""
    text = "Upload a run's model with its card and recipe to the Hugging Face Hub; never done by another command."
    parser = add_command(commands, "push", text, _run)
    parser.add_argument("run", metavar="RUN", help="a run that has ended, or its model's folder")
    parser.add_argument("--to", required=True, metavar="OWNER/NAME", help="the repository, made where it is not there")
    parser.add_argument("--private", action="store_true", help="make it private (default: what your account makes)")
    parser.add_argument(
        "--token-env", metavar="VARIABLE", help="environment variable with the token (default: that of hf auth login)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the files and stop; asks nothing of the Hub")
    group = parser.add_argument_group("what its card says")
    group.add_argument("--license", default="", metavar="NAME", help="such as apache-2.0 (default: none is named)")
    group.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="OWNER/NAME",
        help="learned from, on the Hub; may be repeated (default: none)",
    )
    group.add_argument(
        "--base-model", metavar="OWNER/NAME", help="what training began from (default: what the run knows)"
    )


def _run(options: argparse.Namespace) -> int:
    from mer_r1.display.pushed import print_files
    from mer_r1.pipelines.push import hub_token, plan_push, upload

    plan = plan_push(
        options.run,
        options.to,
        license=options.license,
        datasets=options.dataset,
        base_model=options.base_model,
    )
    print_files(plan.hub_id, {piece.name: piece.size for piece in plan.pieces}, plan.passed_over)
    if options.dry_run:
        print("a dry run, nothing is uploaded")
        return 0
    print(upload(plan, hub_token(options.token_env), private=options.private))
    return 0
