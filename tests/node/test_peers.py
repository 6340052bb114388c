"""The live peers of a node: by id and by group, and those that are busy."""

from __future__ import annotations

import asyncio

import pytest

from tests.node.fakes import DeafPeer, KeepingPeer
from websockets_app.core.states import CloseCause, SendAnswer
from websockets_app.dispatch.frames import Frame
from websockets_app.exceptions import GroupLimitReached
from websockets_app.node.peers import Peers


@pytest.fixture
def peers() -> Peers:
    return Peers(max_queued_bytes=100, max_groups=3)


@pytest.fixture
def tom(peers: Peers) -> KeepingPeer:
    return added(peers, "tom")


def added(peers: Peers, name: str) -> KeepingPeer:
    peer = KeepingPeer(name)
    peers.add(peer)
    return peer


def test_a_peer_is_found_by_its_id_until_it_goes(peers: Peers, tom: KeepingPeer) -> None:
    assert peers.get("tom") is tom
    assert [*peers] == [tom]
    assert len(peers) == 1
    peers.discard(tom)
    peers.discard(tom)
    assert peers.get("tom") is None
    assert len(peers) == 0


def test_peers_may_come_and_go_while_they_are_counted_over(peers: Peers, tom: KeepingPeer) -> None:
    for peer in peers:
        peers.discard(peer)
        added(peers, "jerry")
    assert len(peers) == 1


async def test_a_message_to_a_group_reaches_its_members_once(
    peers: Peers, tom: KeepingPeer
) -> None:
    jerry, stranger = added(peers, "jerry"), added(peers, "stranger")
    for peer in (tom, jerry, tom):
        peers.join(peer, "room 🏠")
    assert await peers.fan_out("room 🏠", "hello") == 2
    assert (tom.sent, jerry.sent, stranger.sent) == (["hello"], ["hello"], [])


async def test_a_member_that_left_hears_nothing(peers: Peers, tom: KeepingPeer) -> None:
    peers.join(tom, "room")
    peers.leave(tom, "room")
    peers.leave(tom, "room")
    peers.leave(tom, "never joined")
    assert await peers.fan_out("room", "hello") == 0


async def test_a_peer_that_goes_leaves_all_its_groups(peers: Peers, tom: KeepingPeer) -> None:
    for group in ("kitchen", "attic"):
        peers.join(tom, group)
    peers.discard(tom)
    assert await peers.fan_out("kitchen", "hello") == 0
    assert not peers._groups
    assert not peers._memberships


async def test_a_peer_that_is_gone_joins_nothing_and_leaves_no_trace(
    peers: Peers, tom: KeepingPeer
) -> None:
    peers.discard(tom)
    peers.join(tom, "room")
    peers.leave(tom, "room")
    assert await peers.fan_out("room", "hello") == 0
    assert not peers._groups
    assert not peers._memberships


async def test_a_peer_joins_no_more_groups_than_it_may(peers: Peers, tom: KeepingPeer) -> None:
    for group in ("1", "2", "3", "3"):
        peers.join(tom, group)
    with pytest.raises(GroupLimitReached, match=r"a member of 3, as many as .*GROUPS_PER_SESSION"):
        peers.join(tom, "4")
    assert await peers.fan_out("4", "hello") == 0
    peers.leave(tom, "1")
    peers.join(tom, "4")
    assert await peers.fan_out("4", "hello") == 1


async def test_a_member_whose_socket_is_closed_is_not_counted(
    peers: Peers, tom: KeepingPeer
) -> None:
    jerry = added(peers, "jerry")
    for peer in (tom, jerry):
        peers.join(peer, "room")
    jerry.closed = True
    assert await peers.fan_out("room", "hello") == 1


async def test_an_unknown_group_has_nobody(peers: Peers) -> None:
    assert await peers.fan_out("nobody", "hello") == 0
    assert not peers._groups


def test_the_longest_queues_are_freed_until_the_rest_is_within_the_limit(peers: Peers) -> None:
    crowd = [added(peers, str(number)) for number in range(5)]
    has_left = KeepingPeer("has left")
    peers.busy[has_left] = 1  # its handler still gets what it had sent
    for peer, size in zip([*crowd, has_left], (10, 50, 0, 40, 20, 60), strict=True):
        peer.queued_bytes = size
        peers.queued.total += size
    peers.sweep()
    assert [peer.id for peer in (*crowd, has_left) if peer.freed_for] == ["1", "has left"]
    assert has_left.freed_for == 100


def test_no_queue_is_freed_within_the_limit(peers: Peers, tom: KeepingPeer) -> None:
    tom.queued_bytes = peers.queued.total = 100
    peers.sweep()
    assert tom.freed_for is None


def test_a_peer_is_watched_that_is_busy_with_the_same_message_at_two_sweeps(
    peers: Peers, tom: KeepingPeer
) -> None:
    peers.busy[tom] = 1
    peers.sweep()
    assert tom.watched == 0
    peers.sweep()
    assert tom.watched == 1


def test_a_peer_that_is_busy_with_one_message_after_another_is_not_watched(
    peers: Peers, tom: KeepingPeer
) -> None:
    for number in range(5):
        peers.busy[tom] = number
        peers.sweep()
    del peers.busy[tom]
    peers.sweep()
    peers.sweep()
    assert tom.watched == 0


async def test_a_member_that_does_not_read_is_closed_and_holds_up_no_other(
    peers: Peers, tom: KeepingPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("websockets_app.node.peers.FAN_OUT_SECONDS", 0.05)
    deaf = DeafPeer("deaf")
    peers.add(deaf)
    for peer in (deaf, tom):
        peers.join(peer, "room")
    assert await peers.fan_out("room", "hello") == 1
    assert tom.sent == ["hello"]
    assert deaf.closed_with == (1013, "too much unread", CloseCause.SLOW)


class TakingPeer(KeepingPeer):
    """A peer whose server takes every message at once."""

    def offer(self, frame: Frame) -> SendAnswer:
        self.sent.append(frame)
        return SendAnswer.WRITTEN


class FailingPeer(KeepingPeer):
    """A peer whose server fails as none should."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(name)
        self._error = error

    def offer(self, frame: Frame) -> SendAnswer:
        raise self._error


def crowd(peers: Peers, number: int) -> list[KeepingPeer]:
    members: list[KeepingPeer] = [TakingPeer(f"member{n}") for n in range(number)]
    for member in members:
        peers.add(member)
        peers.join(member, "all")
    return members


async def test_broadcasts_reach_each_member_in_the_order_in_which_they_were_sent(
    peers: Peers,
) -> None:
    members = crowd(peers, 300)
    peers.join(members[-1], "few")
    first = asyncio.create_task(peers.fan_out("all", "first"))
    await asyncio.sleep(0)
    crowd(peers, 50)  # while it is under way
    await asyncio.gather(first, peers.fan_out("few", "second"), peers.fan_out("all", "third"))
    assert members[-1].sent == ["first", "second", "third"]
    assert {tuple(member.sent) for member in members[:-1]} == {("first", "third")}


async def test_who_broadcasts_in_a_loop_lets_others_have_their_turn(peers: Peers) -> None:
    crowd(peers, 5)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    for _ in range(100):
        await peers.fan_out("all", "news")
    other.cancel()
    assert turns >= 100


@pytest.mark.parametrize("error", [ValueError("its own"), asyncio.CancelledError()])
async def test_a_member_at_whom_sending_fails_keeps_no_other_from_hearing(
    peers: Peers, error: BaseException
) -> None:
    failing = FailingPeer("failing", error)
    peers.add(failing)
    peers.join(failing, "all")
    members = crowd(peers, 3)
    assert await peers.fan_out("all", "news") == 3
    assert all(member.sent == ["news"] for member in members)
