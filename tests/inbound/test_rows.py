"""What peers and proxies say fits the columns: PostgreSQL refuses a longer row whole."""

from __future__ import annotations

from types import SimpleNamespace

from websockets_app.inbound import rows
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
