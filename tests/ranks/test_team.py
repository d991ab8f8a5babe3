"""What the processes of a run tell each other beside the computation."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hymenoptera.errors import RunError
from hymenoptera.ranks import meeting
from hymenoptera.ranks.layout import Layout
from hymenoptera.ranks.team import LostProcess, Team

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer"


@pytest.fixture
def teams(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Team]]:
    """A leader and two others, in one process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(probe.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    found: dict[int, Team] = {}

    def come(rank: int) -> None:
        found[rank] = meeting.gather(Layout(rank, 3, rank, 3))

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(found) == 3
    yield [found[rank] for rank in range(3)]
    for other in (found[1], found[2]):
        other.release()
    found[0].end(0)  # or they would end this process as they end theirs
    assert [found[1].part(), found[2].part()] == [0, 0]


def test_the_others_hear_what_the_leader_tells(teams: list[Team]) -> None:
    leader, *others = teams
    leader.tell({"config": {"optimizer": {"lr": 1e-4}}, "none": None})
    assert [other.hear()["config"]["optimizer"]["lr"] for other in others] == [1e-4, 1e-4]
    for other in others:
        other.assemble()
    leader.assemble()
    assert [team.is_leader for team in teams] == [True, False, False]


def test_the_leader_says_what_went_wrong_elsewhere(teams: list[Team]) -> None:
    leader, first, second = teams
    first.report(RuntimeError(GLOO))  # it only noticed that the second one is gone
    second.report(RunError("val/bees/3.jpg cannot be read"))
    found = leader.reason(RuntimeError(GLOO))
    assert isinstance(found, LostProcess)
    assert str(found) == "process 2 of 3 failed: val/bees/3.jpg cannot be read"


def test_its_own_error_is_its_own(teams: list[Team]) -> None:
    leader, first, _ = teams
    first.report(RuntimeError("out of memory"))
    for error in (RunError("train/loss is nan in epoch 1"), ValueError("a fault of its own")):
        assert leader.reason(error) is error


def test_a_process_that_is_not_ready_ends_the_waiting(teams: list[Team]) -> None:
    leader, first, second = teams
    first.assemble()
    second.report(RunError("other pictures here"))
    with pytest.raises(LostProcess, match="process 2 of 3 failed: other pictures here"):
        leader.assemble()
    leader.release()


@pytest.mark.parametrize(
    ("layout", "hosts"), [(Layout(0, 3, 0, 3), {"127.0.0.1"}), (Layout(0, 3), {""})]
)
def test_who_does_not_come_is_missed(
    monkeypatch: pytest.MonkeyPatch, layout: Layout, hosts: set[str]
) -> None:
    """Who is waited for on this machine only can come from nowhere else."""
    found: list[str] = []
    create_server = socket.create_server

    def note(address: tuple[str, int], **options: Any) -> socket.socket:
        found.append(address[0])
        return create_server(address, **options)

    monkeypatch.setattr(socket, "create_server", note)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(probe.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr("hymenoptera.ranks.team.ARRIVAL_S", 0.2)
    with pytest.raises(RunError, match="2 of 3 processes did not come within 0 s"):
        meeting.gather(layout)
    assert set(found) == hosts
