"""Your own clips and a CSV -> a manifest -> check -> SFT -> answers -> scores.

    pip install '.[train]'
    python examples/own_clips.py [--out runs/own_clips] [--num 80] [--steps 60]

The example makes its clips itself and teaches a tiny random model, so it runs offline on a CPU in about a minute.
For your data replace `make_clips` by your folder and your CSV; for a real model replace `source=tiny`, by a checkpoint
such as Qwen/Qwen2.5-Omni-3B, and see `mer-r1 train omni3b-sft --dry-run --rows 500`. After the manifest everything is a
command, which is printed before it runs.
"""

from __future__ import annotations

import argparse
import csv
import shlex
from collections.abc import Sequence
from pathlib import Path

from mer_r1 import Sample, write_manifest
from mer_r1.commands import main as mer_r1


def main(arguments: Sequence[str] | None = None) -> None:
    """All steps in a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/own_clips"))
    parser.add_argument("--num", type=int, default=80, help="clips (default %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="steps of SFT (default %(default)s)")
    options = parser.parse_args(arguments)
    out: Path = options.out
    table = make_clips(out / "mine", options.num)

    samples = read_table(table)
    test_speakers = {sample.cluster for sample in samples[:2]}  # nobody is in both splits
    train, test, predictions = out / "train.jsonl", out / "test.jsonl", out / "predictions.jsonl"
    write_manifest(train, [sample for sample in samples if sample.cluster not in test_speakers])
    write_manifest(test, [sample for sample in samples if sample.cluster in test_speakers])

    optim = ("learning_rate=3e-3", f"max_steps={options.steps}", "batch_size=16", "warmup_steps=5", "save_steps=1000")
    command("check", train, "--workers", 1)
    command("check", test, "--workers", 1)
    command(
        *("train", "minimer-sft", f"data.train={train}", "data.workers=0", "model.source=tiny", "sft.targets=[fast]"),
        *(f"optim.{value}" for value in optim),
        *("--out", out / "sft"),
    )
    command("predict", "--manifest", test, "--model", out / "sft", "--mode", "fast", "--out", predictions)
    command("score", "--gold", test, "--pred", predictions, "--json", out / "score.json")


def read_table(table: Path) -> list[Sample]:
    """The rows of a CSV with the columns file, words, emotions ("happy; calm"), speaker as samples."""
    with table.open(encoding="utf-8", newline="") as handle:
        return [
            Sample(
                id=row["file"],
                video=table.parent / row["file"],
                subtitle=row["words"] or None,
                labels=tuple(word.strip() for word in row["emotions"].split(";") if word.strip()),
                cluster=row["speaker"],  # intervals resample speakers, for clips of one are not independent
            )
            for row in csv.DictReader(handle)
        ]


def make_clips(folder: Path, num: int) -> Path:
    """Stand-ins for clips of your own: synthetic faces and voices, and a CSV about them."""
    from mer_r1.synthetic.corpus import Plan, make_clip

    plan = Plan(num=num, seed=0)
    table = folder / "clips.csv"
    if table.exists():
        return table
    rows = []
    for index in range(num):
        _, sample = make_clip(plan, folder, index)
        if sample.video:  # some of these have sound alone
            name = sample.video.relative_to(folder).as_posix()
            rows.append((name, sample.subtitle or "", "; ".join(sample.labels), sample.cluster))
    with table.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("file", "words", "emotions", "speaker"), *rows])
    return table


def command(*words: object) -> None:
    """Run a command of mer-r1 as a shell would, and stop where it fails."""
    line = [str(word) for word in words]
    print(f"\n$ mer-r1 {shlex.join(line)}", flush=True)
    if status := mer_r1(line):
        raise SystemExit(status)


if __name__ == "__main__":
    main()
