"""What peers and proxies say fits the columns: PostgreSQL refuses a longer row whole."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.utils import timezone
from pytest_django import Settings

from websockets_app.inbound import rows
from websockets_app.inbound.handle import WebsocketSession
from websockets_app.inbound.handshake import Handshake
from websockets_app.models import Session


def length_of(column: str) -> int:
    most = Session._meta.get_field(column).max_length
    assert most is not None
    return most


def test_an_address_that_a_header_made_up_fits_its_column() -> None:
    scope = {"path": "/x", "headers": [], "client": ["x\n" * 500, 0]}
    address = rows.of_handshake(Handshake(scope=scope, params={}))["address"]
    assert len(address) <= length_of("address")
    assert address.startswith("x\\nx")


def test_a_user_of_any_model_fits_the_columns() -> None:
    user = SimpleNamespace(pk="k" * 500, get_username=lambda: "n" * 500)
    for column, value in rows.of_user(user).items():
        assert len(value) <= length_of(column)


def test_a_user_of_another_model_is_not_taken_for_the_sites_own_of_that_key(db: None) -> None:
    tom = User.objects.create_user("tom")
    device = SimpleNamespace(pk=tom.pk, get_username=lambda: "device")
    keys = [rows.of_user(user)["user_key"] for user in (tom, device)]
    assert keys == [str(tom.pk), f"SimpleNamespace:{tom.pk}"]


def test_the_address_is_that_of_whom_a_trusted_proxy_passes_on(settings: Settings) -> None:
    headers = [(b"x-forwarded-for", b"1.1.1.1, 203.0.113.9"), (b"x-forwarded-for", b"10.0.0.2")]
    scope = {"path": "/x", "headers": headers, "client": ["10.0.0.1", 0]}
    assert rows.of_handshake(Handshake(scope=scope, params={}))["address"] == "10.0.0.1"
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "TRUSTED_PROXIES": ["10.0.0.0/8"]}
    assert rows.of_handshake(Handshake(scope=scope, params={}))["address"] == "203.0.113.9"


def test_a_long_path_and_what_it_captures_are_cut() -> None:
    path = "/files/" + "x" * 4000
    handshake = Handshake(scope={"path": path, "headers": []}, params={"a": path, "b": 7})
    columns = rows.of_handshake(handshake)
    cut = path[:499] + "…"
    assert (columns["path"], columns["params"]) == (cut, {"a": cut, "b": "7"})


def test_a_captured_value_is_recorded_as_it_is() -> None:
    params = {"room": "می\u200cخواهم", "full": "x" * 500}
    handshake = Handshake(scope={"path": "/", "headers": []}, params=params)
    assert rows.of_handshake(handshake)["params"] == params


def test_a_socket_without_addresses_has_none() -> None:
    for client in (None, (), (None, 0), ("", 0)):
        scope = {"path": "/x", "headers": [], "client": client}
        assert rows.of_handshake(Handshake(scope=scope, params={}))["address"] == ""


@pytest.mark.parametrize("key", ["", "0", "device-7", "12345678-aaaa", "9" * 40])
def test_from_another_process_who_has_no_row_is_nobody(db: None, key: str) -> None:
    tom = User.objects.create_user("tom")
    about = {"endpoint_path": "x", "path": "/x", "opened_at": timezone.now()}
    for session_id, user_key in (("a" * 32, str(tom.pk)), ("b" * 32, key)):
        Session.objects.create(id=session_id, user_key=user_key, **about)
    assert WebsocketSession("a" * 32).user == tom
    assert WebsocketSession("b" * 32).user is None


async def test_async_code_asks_for_a_session_of_another_process_by_coroutines(
    transactional_db: None,
) -> None:
    tom = await User.objects.acreate(username="tom")
    await Session.objects.acreate(
        id="a" * 32, user_key=str(tom.pk), params={"room": "kitchen"},
        endpoint_path="x", path="/x", opened_at=timezone.now(),
    )  # fmt: skip
    session = WebsocketSession("a" * 32)
    assert await session.aclosed() is False
    assert await session.aparams() == {"room": "kitchen"}
    assert await session.auser() == tom
    for name in ("closed", "params", "user"):
        with pytest.raises(SynchronousOnlyOperation, match=rf"await a{name}\(\)"):
            getattr(session, name)


@pytest.mark.parametrize(
    ("path", "params", "shown", "shown_params"),
    [
        ("/ws/hunter2/hall", {"token": "hunter2", "room": "hall"},
         "/ws/…/hall", {"token": "…", "room": "hall"}),
        ("/ws/0042", {"userPin": 42}, "/ws/00…", {"userPin": "…"}),
        ("/ws/aHVudGVyMg", {"secret": b"hunter2"}, "…", {"secret": "…"}),
        ("/ws/token=hunter2", {}, "/ws/token=…", {}),
        ("/ws/x", {"form": "pwd=hunter2"}, "/ws/x", {"form": "pwd=…"}),
    ],
)  # fmt: skip
def test_a_captured_secret_is_hidden_in_the_path_and_the_params(
    path: str, params: dict[str, object], shown: str, shown_params: dict[str, str]
) -> None:
    handshake = Handshake(scope={"path": path, "headers": []}, params=params)
    columns = rows.of_handshake(handshake)
    assert (columns["path"], columns["params"]) == (shown, shown_params)
