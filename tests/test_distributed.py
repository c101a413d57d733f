"""One reading of the launchers' variables serves training and generation."""

from __future__ import annotations

import pytest

from mer_r1.distributed import is_first_process, local_rank, rank_and_world_size

LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "MPICH": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "MVAPICH2": ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK"),
}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in LAUNCHERS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("names", LAUNCHERS.values(), ids=LAUNCHERS)
def test_every_launcher_names_rank_size_and_local_rank(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, str, str]
) -> None:
    for name, value in zip(names, ("5", "8", "1"), strict=True):
        monkeypatch.setenv(name, value)
    assert rank_and_world_size() == (5, 8)
    assert local_rank() == 1
    assert not is_first_process()
    monkeypatch.setenv(names[0], "0")
    assert is_first_process()


def test_without_a_launcher_there_is_one_process() -> None:
    assert rank_and_world_size() == (0, 1)
    assert local_rank() == 0
    assert is_first_process()


def test_torchruns_variables_come_before_those_of_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "PMI_RANK": "0", "PMI_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert rank_and_world_size() == (1, 2)
