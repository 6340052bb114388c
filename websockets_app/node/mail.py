"""What a process tells other nodes about their peers: composed and read here, and nowhere else.

A message in the layer is a hint of a stranger's: whatever isn't exactly one of these is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from ..core.close_codes import cut_reason, may_be_sent
from ..core.states import CloseCause
from ..dispatch.frames import Frame, size_of
from ..exceptions import GroupLimitReached, InvalidResult
from .ended_logins import ended_logins
from .peers import Peers

Mail = dict[str, Any]
Own = Callable[[Coroutine[Any, Any, Any]], object]
Delivery = Callable[[Peers, Own], None]

SEND: Final = "send"
CLOSE: Final = "close"
JOIN: Final = "join"
LEAVE: Final = "leave"
FAN_OUT: Final = "fan_out"
END_LOGIN: Final = "end_login"

GROUP_NAME_LENGTH: Final = 200
"""Characters that the name of a group may have."""


def sending(peer_id: str, frame: Frame) -> Mail:
    return {"do": SEND, "peer": peer_id, **_content(frame)}


def closing(peer_id: str, code: int, reason: str, cause: CloseCause) -> Mail:
    return {"do": CLOSE, "peer": peer_id, "code": int(code), "reason": reason, "cause": str(cause)}


def joining(peer_id: str, group: str) -> Mail:
    return {"do": JOIN, "peer": peer_id, "group": _name(group)}


def leaving(peer_id: str, group: str) -> Mail:
    return {"do": LEAVE, "peer": peer_id, "group": _name(group)}


def fanning_out(group: str, frame: Frame) -> Mail:
    return {"do": FAN_OUT, "group": _name(group), **_content(frame)}


def ending_login(login_id: str) -> Mail:
    return {"do": END_LOGIN, "login": login_id}


def deliver(mail: object, peers: Peers, own: Own) -> bool:
    """Do what `mail` asks for, as far as its peer is still here; False where it is no mail."""
    if not isinstance(mail, Mapping):
        return False
    try:
        delivery = _DELIVERIES[mail["do"]](mail)
    except (KeyError, TypeError, ValueError, InvalidResult, GroupLimitReached):
        return False
    delivery(peers, own)
    return True


def _deliver_send(mail: Mapping[str, Any]) -> Delivery:
    peer_id, frame = _text(mail, "peer"), _frame(mail)

    def deliver(peers: Peers, own: Own) -> None:
        if peer := peers.get(peer_id):
            peer.send_soon(frame)

    return deliver


def _deliver_close(mail: Mapping[str, Any]) -> Delivery:
    peer_id, code, reason = _text(mail, "peer"), mail["code"], cut_reason(_text(mail, "reason"))
    cause = CloseCause(_text(mail, "cause"))
    if type(code) is not int or not may_be_sent(code):
        raise ValueError("no close code")

    def deliver(peers: Peers, own: Own) -> None:
        if peer := peers.get(peer_id):
            own(peer.aclose(code, reason, cause))

    return deliver


def _deliver_join(mail: Mapping[str, Any]) -> Delivery:
    peer_id, group = _text(mail, "peer"), _name(mail["group"])

    def deliver(peers: Peers, own: Own) -> None:
        if peer := peers.get(peer_id):
            peers.join_or_report(peer, group)

    return deliver


def _deliver_leave(mail: Mapping[str, Any]) -> Delivery:
    peer_id, group = _text(mail, "peer"), _name(mail["group"])

    def deliver(peers: Peers, own: Own) -> None:
        if peer := peers.get(peer_id):
            peers.leave(peer, group)

    return deliver


def _deliver_to_group(mail: Mapping[str, Any]) -> Delivery:
    group, frame = _name(mail["group"]), _frame(mail)

    def deliver(peers: Peers, own: Own) -> None:
        own(peers.fan_out(group, frame))

    return deliver


def _deliver_end_of_login(mail: Mapping[str, Any]) -> Delivery:
    login_id = _text(mail, "login")
    return lambda peers, own: ended_logins.add(login_id)


_DELIVERIES: Final[Mapping[str, Callable[[Mapping[str, Any]], Delivery]]] = {
    SEND: _deliver_send,
    CLOSE: _deliver_close,
    JOIN: _deliver_join,
    LEAVE: _deliver_leave,
    FAN_OUT: _deliver_to_group,
    END_LOGIN: _deliver_end_of_login,
}


def _content(frame: Frame) -> Mail:
    size_of(frame)  # which refuses text that can't be encoded: here, where somebody hears of it
    return {"text": frame} if isinstance(frame, str) else {"bytes": frame}


def _name(group: object) -> str:
    """Return the name of a group; raise `TypeError`, `InvalidResult` or `GroupLimitReached`.

    It may be a peer's word. Found out by the layer, it would look as if the layer failed.
    """
    if not isinstance(group, str):
        raise TypeError(f"The name of a group is text, not {type(group).__name__}.")
    if len(group) > GROUP_NAME_LENGTH:
        raise GroupLimitReached(
            f"The name of a group has {len(group)} characters; at most {GROUP_NAME_LENGTH} are "
            "allowed."
        )
    size_of(group)
    return group


def _frame(mail: Mapping[str, Any]) -> Frame:
    if "text" in mail:
        text = _text(mail, "text")
        size_of(text)  # which refuses what no peer could be sent
        return text
    data = mail["bytes"]
    if not isinstance(data, bytes):
        raise TypeError("no bytes")
    return data


def _text(mail: Mapping[str, Any], key: str) -> str:
    value = mail[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is no text")
    return value
