"""examples/slurm: what a scheduler starts on each node is a command that `mer-r1` takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mer_r1 import commands

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "two_nodes.sbatch"
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
for node in 0 1; do SLURM_NODEID=$node "$@"; done
"""
PROGRAMS = {
    "scontrol": '#!/usr/bin/env bash\necho first; echo second\ntest "$3" = "node[1-2]"\n',
    "srun": SRUN,
    "mer-r1": '#!/usr/bin/env bash\nprintf "%s\\n" "$SLURM_NODEID" "$@" > "$RUNS/$SLURM_NODEID"\n',
}


@pytest.mark.slow
def test_both_nodes_start_the_same_run_and_meet_at_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RUNS": str(tmp_path),
        "SLURM_JOB_ID": "40012",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "8",
    }
    subprocess.run(["bash", str(SCRIPT)], env=environment, check=True, cwd=tmp_path)
    found = [(tmp_path / node).read_text().splitlines() for node in "01"]
    assert [lines[0] for lines in found] == ["0", "1"]
    assert found[0][1:] == found[1][1:]
    options = commands._parser().parse_args(found[0][1:])
    assert (options.launch, options.nodes, options.node_rank) == (8, 2, None)
    assert (options.main_address, options.main_port) == ("first", 20012)
    assert options.recipe == "omni7b-rl"


@pytest.mark.slow
def test_what_is_given_to_sbatch_is_trained_in_the_place_of_the_default(tmp_path: Path) -> None:
    (tmp_path / "srun").write_text('#!/usr/bin/env bash\necho "$@"\n')
    (tmp_path / "scontrol").write_text("#!/usr/bin/env bash\necho first\n")
    for name in ("srun", "scontrol"):
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_NNODES": "2"}
    environment["SLURM_JOB_NODELIST"] = "x"
    done = subprocess.run(
        ["bash", str(SCRIPT), "mine.yaml", "rl.beta=0"], env=environment, check=True, capture_output=True, text=True
    )
    assert "mer-r1 train mine.yaml rl.beta=0 --launch 8 --nodes 2 --main-address first" in done.stdout


def test_resources_are_asked_for_before_the_first_command() -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    wanted = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert len(wanted) == 7
    assert max(wanted) < next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
