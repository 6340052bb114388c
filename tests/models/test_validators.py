"""Values that can never work are refused everywhere, with what to write instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.forms import modelform_factory
from django.test import Client as Browser
from pytest_django import Settings

from tests.admin.pages import errors, form_data, url
from tests.infrastructure import replica
from tests.outbound.certificates import make_certificates
from websockets_app import websockets
from websockets_app.checks.rows import check_rows
from websockets_app.descriptors.report import Verb
from websockets_app.descriptors.sync import sync
from websockets_app.exceptions import HandlerNotFound, InvalidClient, InvalidUri
from websockets_app.models import Client, Endpoint, EndpointGroup

pytestmark = pytest.mark.django_db

NO_PEM: Final = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
TEN_YEARS: Final = "ten years"

REFUSED_BY_CLIENTS: Final = [
    ("uri", "ws://", "Write the host after ws://"),
    ("uri", "ws:///path", "Write the host"),
    ("uri", "ws://:8000/", "Write the host"),
    ("uri", "ws://a..b/", "Write the host"),
    ("uri", "ws://[::1", "Write the host"),
    ("uri", "ws://a\\b/", "Write the host"),
    ("uri", "ws://example.com:99999/", "from 1 to 65535"),
    ("uri", "ws://example.com:0/", "from 1 to 65535"),
    ("uri", "ws://example.com:http/", "from 1 to 65535"),
    ("uri", "ws://me:pa/ss@example.com/", "as %2F"),
    ("uri", "ws://example.com/#part", "Remove the fragment"),
    ("uri", "ws://example.com/a b", "a space in a path or query as %20"),
    ("uri", "ws://example.com/a\nb", "control characters"),
    ("uri", "ws://me@example.com/", "user:@ if the password is empty"),
    ("uri", "http://example.com/", "Write ws:// instead of http://"),
    ("uri", "HTTPS://example.com/", "Write wss:// instead of https://"),
    ("uri", "ftp://example.com/", "starts with ws:// or wss://"),
    ("uri", "example.com", "starts with ws:// or wss://"),
    ("proxy", "localhost:3128", "as http://localhost:3128"),
    ("proxy", "me:secret@localhost:3128", "as http://localhost:3128"),
    ("proxy", "ftp://localhost:3128", "starts with one of http://"),
    ("proxy", "http://", "Write the host after http://"),
    ("proxy", "http://localhost:99999", "from 1 to 65535"),
    ("proxy", "http://localhost:3128/path", "a proxy has no path or query"),
    ("proxy", "http://localhost:3128?", "a proxy has no path or query"),
    ("proxy", "http://me@localhost:3128", "user:@"),
    ("headers", {"Bad: secret": "x"}, "Write the name of each header as X-Name"),
    ("headers", {"": "x"}, "Write the name of each header as X-Name"),
    ("headers", {"X:": "x"}, "Write the name of each header as X-Name"),
    ("headers", {"Ä": "x"}, "Write the name of each header as X-Name"),
    ("headers", {"X": "a\r\nHost: b"}, "The value of “X” holds a line break"),
    ("headers", {"X": "a\0"}, "The value of “X”"),
    ("headers", {"X": "€"}, "The value of “X”"),
    ("headers", {"host": "b"}, "Remove “host”: the handshake sets it itself"),
    ("headers", {"Sec-WebSocket-Protocol": "b"}, "use the field “subprotocols”"),
    ("headers", {"Origin": "https://example.com"}, "use the field “Origin header”"),
    ("headers", {"X": 1}, "Write a JSON object of strings"),
    ("subprotocols", ["a, b"], 'an item of its own: ["a", "b"]'),
    ("subprotocols", ["secret b"], "without spaces"),
    ("subprotocols", ["ä"], "letters, digits and"),
    ("subprotocols", [""], "letters, digits and"),
    ("subprotocols", ["a" * 101], "at most 100 characters"),
    ("subprotocols", ["secret", "b", "secret"], "Write each subprotocol only once"),
    ("origin", "example.com", "write https://example.com"),
    ("origin", "https://example.com/", "write https://example.com"),
    ("origin", "https://example.com\r\nX: y", "is not an origin"),
    ("origin", "https://*.example.com", "is not an origin"),
    ("ca_certificates", "no certificate", "Write certificates in PEM"),
    ("ca_certificates", NO_PEM, "Write certificates in PEM"),
    ("ca_certificates", "ä", "Write certificates in PEM"),
    ("ca_certificates", "-----BEGIN PRIVATE KEY-----", "Remove the private key"),
    ("backoff_base", 61, "at most 60 seconds, the longest backoff"),
    ("backoff_ceiling", 1e12, TEN_YEARS),
    ("message_ttl", 1e12, TEN_YEARS),
    ("ping_interval", 1e300, TEN_YEARS),
    ("ping_timeout", 1e300, TEN_YEARS),
    ("stable_after", 1e300, TEN_YEARS),
    ("open_timeout", 0, "greater than or equal to 0.1"),
    ("close_timeout", -1, "greater than or equal to 0.1"),
]  # fmt: skip

REFUSED_BY_ENDPOINTS: Final = [
    ("permission", "auth.view_usr", "Did you mean auth.view_user?"),
    ("permission", "shop.sell_everything", "no such permission"),
    ("permission", "nodots", "Write it as app_label.codename"),
    ("permission", ".view_user", "Write it as app_label.codename"),
    ("origins", ["example.com"], "write https://example.com"),
    ("origins", ["example.com:8443"], "write https://example.com:8443"),
    ("origins", ["https://example.com/path"], "write https://example.com"),
    ("origins", ["https://me@example.com"], "write https://example.com"),
    ("origins", ["wss://example.com"], "write https://example.com"),
    ("origins", ["*.example.com"], "write https://*.example.com"),
    ("origins", ["https://*"], "write *"),
    ("origins", ["https://a*b.example"], "write scheme, host and port"),
    ("origins", ["https://example.com:99999"], "write scheme, host and port"),
    ("origins", ["https://bücher.example"], "write https://xn--bcher-kva.example"),
    ("origins", ["no origin"], "write scheme, host and port"),
    ("origins", [""], "write scheme, host and port"),
    ("subprotocols", ["a, b"], 'an item of its own: ["a", "b"]'),
    ("idle_timeout", 1e300, TEN_YEARS),
    ("send_timeout", 1e300, TEN_YEARS),
    ("messages_per_second", -1, "greater than or equal to 0"),
]  # fmt: skip


def client(**fields: Any) -> Client:
    return Client(**{"name": "c", "uri": "ws://x/", "handler": "handlers.printer", **fields})


def endpoint(**fields: Any) -> Endpoint:
    return Endpoint(**{"endpoint": "mine", "handler": "handlers.echo", **fields})


def refusals(row: Client | Endpoint) -> dict[str, list[str]]:
    try:
        row.full_clean()
    except ValidationError as error:
        return error.message_dict
    return {}


@pytest.mark.parametrize(("field", "value", "told"), REFUSED_BY_CLIENTS)
def test_a_client_is_refused_with_what_to_write_instead(field: str, value: Any, told: str) -> None:
    found = refusals(client(**{field: value}))
    assert list(found) == [field]
    assert told in found[field][0]
    assert "secret" not in found[field][0]


@pytest.mark.parametrize(("field", "value", "told"), REFUSED_BY_ENDPOINTS)
def test_an_endpoint_is_refused_with_what_to_write_instead(
    field: str, value: Any, told: str
) -> None:
    found = refusals(endpoint(**{field: value}))
    assert list(found) == [field]
    assert told in found[field][0]


@pytest.mark.parametrize(
    "fields",
    [
        {"uri": "ws://localhost"},
        {"uri": "wss://example.com:8443/a/@b?c=d&e=%20%23"},
        {"uri": "ws://[2001:db8::1]:80/"},
        {"uri": "wss://bücher.example/ü?ü=ä"},
        {"uri": "wss://me:@example.com/"},
        {"uri": "wss://:key@example.com/"},
        {"uri": "ws://env:FEED_HOST/"},
        {"uri": "ws://example.com:env:FEED_PORT/"},
        {"uri": "ws://[env:FEED_HOST]:80/"},
        {"uri": "wss://env:FEED_USER:env:FEED_PASSWORD@example.com/?token=env:FEED_TOKEN"},
        {"proxy": "http://localhost:3128"},
        {"proxy": "HTTP://localhost:3128/"},
        {"proxy": "socks5h://me:env:FEED_PASSWORD@[::1]:1080"},
        {"headers": {"X-Key": "env:FEED_TOKEN", "X-Empty": "", "X_latin!": "Grüße"}},
        {"subprotocols": ["v2.chat", "V2.CHAT", "!#$%&'*+-.^_`|~"]},
        {"origin": "https://example.com:8443"},
        {"origin": "chrome-extension://abcdef"},
        {"origin": "null"},
        {"backoff_base": 60},
        {"message_ttl": None},
        {"ca_certificates": " \n"},
    ],
)
def test_what_can_work_is_accepted(fields: dict[str, Any], settings: Settings) -> None:
    settings.WEBSOCKETS = {**settings.WEBSOCKETS, "CLIENT_ENVIRONMENT": ["FEED_*"]}
    assert refusals(client(**fields)) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"origins": ["*", "null", "file://", "https://example.com", "https://EXAMPLE.com:443/"]},
        {"origins": ["https://*.example.com:8443", "capacitor://localhost", "http://[::1]:8000"]},
        {"permission": "auth.view_user"},
        {"access": "public"},
        {"idle_timeout": 0, "send_timeout": 0, "messages_per_second": 0},
    ],
)
def test_what_can_serve_is_accepted(fields: dict[str, Any]) -> None:
    assert refusals(endpoint(**fields)) == {}


def test_certificates_are_accepted(tmp_path: Path) -> None:
    pem = make_certificates(tmp_path).authority.read_text()
    assert refusals(client(ca_certificates=pem)) == {}


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [("uri", "WSS://Example.com/Path", "wss://Example.com/Path"),
     ("proxy", "HTTP://localhost:3128", "http://localhost:3128")],
)  # fmt: skip
def test_the_scheme_is_stored_in_lower_case(field: str, value: str, stored: str) -> None:
    row = client(**{field: value})
    row.full_clean()
    assert getattr(row, field) == stored


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "soon"])
def test_a_number_of_code_must_be_a_number(value: Any) -> None:
    assert list(refusals(client(open_timeout=value))) == ["open_timeout"]
    assert list(refusals(endpoint(idle_timeout=value))) == ["idle_timeout"]


@pytest.mark.parametrize("field", ["name", "uri", "origin", "proxy", "headers", "subprotocols"])
def test_null_is_refused(field: str) -> None:
    assert list(refusals(client(**{field: None}))) == [field]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_database_stores_is_refused(text: str) -> None:
    assert list(refusals(client(description=text))) == ["description"]


def test_a_permission_and_a_public_endpoint_contradict_each_other() -> None:
    found = refusals(endpoint(access="public", permission="auth.view_user"))
    assert list(found) == ["permission"]
    assert "remove the permission, or choose another access" in found["permission"][0]


def test_permissions_of_a_sites_own_backend_may_have_no_row(settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = ["tests.models.test_validators.OwnBackend"]
    assert refusals(endpoint(permission="shop.sell_everything")) == {}


class OwnBackend:
    """A backend that knows permissions by rules."""

    def has_perm(self, user: Any, permission: str, obj: Any = None) -> bool:
        return permission.startswith("shop.")


# The same in the admin, from code and from files


def test_the_admin_refuses_them(admin_client: Browser) -> None:
    data = form_data(admin_client.get(url(Client, "add")))
    data |= {"name": "c", "uri": "ws://x/", "handler": "handlers.printer"}
    bad = {
        "uri": "ws://", "proxy": "localhost:3128", "headers": '{"Bad Header": ""}',
        "subprotocols": '["a, b"]', "ca_certificates": "x", "origin": "example.com",
    }  # fmt: skip
    assert errors(admin_client.post(url(Client, "add"), data | bad)).keys() == bad.keys()
    data = form_data(admin_client.get(url(Endpoint, "add")))
    data |= {"endpoint": "mine", "handler": "handlers.echo"}
    bad = {"permission": "auth.view_usr", "origins": '["example.com"]'}
    assert errors(admin_client.post(url(Endpoint, "add"), data | bad)).keys() == bad.keys()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [refused for refused in REFUSED_BY_CLIENTS if refused[0] not in {"uri", "backoff_base"}],
)
def test_code_is_refused_with_the_same_words(field: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidClient) as raised:
        websockets.create_websocket("ws://x/", "printer", name="c", wait=False, **{field: value})
    assert f"{field}: " in str(raised.value)
    assert told in str(raised.value)


def test_a_uri_of_code_is_refused_without_its_secrets() -> None:
    with pytest.raises(InvalidUri, match="as %2F") as raised:
        websockets.create_websocket("ws://me:se/cret@x/", "printer", wait=False)
    assert "cret" not in str(raised.value)


def test_files_are_refused_with_the_same_words(tmp_path: Path) -> None:
    def write(name: str, **keys: Any) -> None:
        (tmp_path / name).write_text(json.dumps(keys))

    write("a.websocket-client", uri="ws://x/", handler="printer", proxy="localhost:3128")
    write("b.websocket", endpoint="b", handler="echo", permission="auth.view_usr")
    write("c.websocket", endpoint="c", handler="echo", access="public", groups=["ops"])
    write("d.websocket", endpoint="d", handler="handlers.ecko")
    write("e.websocket-client", uri="WS://x/", handler="printer")
    Group.objects.create(name="ops")
    lines = {line.file.rpartition("/")[2]: line.text for line in sync([tmp_path]).bad}
    assert "proxy: Write the scheme too, as http://localhost:3128." in lines["a.websocket-client"]
    assert "permission: There is no such permission. Did you" in lines["b.websocket"]
    assert "groups: A public endpoint lets everyone in" in lines["c.websocket"]
    assert "Did you mean handlers.echo?" in lines["d.websocket"]
    assert Client.objects.get().uri == "ws://x/"
    assert not sync([tmp_path]).of(Verb.CHANGED)


def test_the_admin_refuses_groups_of_a_public_endpoint(admin_client: Browser) -> None:
    group = Group.objects.create(name="ops")
    page = admin_client.get(url(Endpoint, "add"))
    data = form_data(page) | {"endpoint": "mine", "handler": "handlers.echo", "access": "public"}
    data |= {"endpointgroup_set-TOTAL_FORMS": "1", "endpointgroup_set-0-group": str(group.pk)}
    response = admin_client.post(url(Endpoint, "add"), data)
    assert "A public endpoint lets everyone in" in response.content.decode()
    assert not Endpoint.objects.exists()


@pytest.mark.skipif(replica.IN_USE, reason="Django's admin reads groups from the replica")
def test_an_endpoint_becomes_public_once_its_groups_are_removed(admin_client: Browser) -> None:
    row = Endpoint.objects.create(endpoint="mine", handler="handlers.echo")
    link = EndpointGroup.objects.create(endpoint=row, group=Group.objects.create(name="ops"))
    page = url(Endpoint, "change", row.pk)
    data = form_data(admin_client.get(page)) | {"access": "public"}
    data |= {"endpointgroup_set-0-id": str(link.pk), "endpointgroup_set-0-endpoint": str(row.pk),
             "endpointgroup_set-0-group": str(link.group_id)}  # fmt: skip
    assert "lets everyone in" in admin_client.post(page, data).content.decode()
    admin_client.post(page, data | {"endpointgroup_set-0-DELETE": "on"})
    row.refresh_from_db()
    assert (row.access, row.groups.count()) == ("public", 0)


@pytest.mark.parametrize("written", ["ecko", "handlers.ecko", "/ecko.py", "handlers/eco"])
def test_a_mistyped_handler_names_a_similar_one(admin_client: Browser, written: str) -> None:
    data = form_data(admin_client.get(url(Endpoint, "add")))
    data |= {"endpoint": "mine", "handler": written}
    told = errors(admin_client.post(url(Endpoint, "add"), data))["handler"][0]
    assert told.endswith("Did you mean handlers.echo?")
    with pytest.raises(HandlerNotFound, match=r"Did you mean handlers\.echo\?"):
        websockets.create_websocket("ws://x/", written, wait=False)


def test_a_handler_that_resembles_none_names_none() -> None:
    with pytest.raises(HandlerNotFound) as raised:
        websockets.create_websocket("ws://x/", "zzzzzzzzzzzz", wait=False)
    assert "Did you mean" not in str(raised.value)


# Rows that no form has seen


@pytest.mark.parametrize(
    ("field", "value", "told"), [case for case in REFUSED_BY_ENDPOINTS if case[1] != -1]
)
def test_the_check_names_the_values_of_a_stored_endpoint(
    admin_client: Browser, field: str, value: Any, told: str
) -> None:
    endpoint(**{field: value}).save()
    (message,) = check_rows(databases=["default"])
    assert message.id == "websockets_app.W046"
    assert field in message.msg
    assert admin_client.get(url(Endpoint, "changelist")).status_code == 200


def test_the_check_names_groups_of_a_stored_public_endpoint() -> None:
    row = endpoint(access="public")
    row.save()
    EndpointGroup.objects.create(endpoint=row, group=Group.objects.create(name="ops"))
    (message,) = check_rows(databases=["default"])
    assert (message.id, "groups" in message.msg) == ("websockets_app.W046", True)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [case for case in REFUSED_BY_CLIENTS if r"\x00" not in repr(case[1])],
)
def test_a_stored_client_shows_its_values_as_a_problem(
    admin_client: Browser, field: str, value: Any, told: str
) -> None:
    row = client(**{field: value})
    row.save()
    (message,) = check_rows(databases=["default"])
    assert message.id in {"websockets_app.W042", "websockets_app.W045"}
    for page in (url(Client, "changelist"), url(Client, "change", row.pk)):
        assert "websockets-problem" in admin_client.get(page).content.decode()


def test_a_form_without_a_field_saves_a_row_whose_stored_value_is_bad() -> None:
    row = client(uri="ws://")
    row.save()
    form = modelform_factory(Client, fields=["description"])({"description": "new"}, instance=row)
    assert form.is_valid(), form.errors
