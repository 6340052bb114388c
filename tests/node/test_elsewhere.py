"""Mail to other processes, from one that has no node: quickly there, or quickly told why not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from tests.infrastructure.layers import CORE, PUBSUB, use_layer
from tests.infrastructure.ports import free_port
from tests.infrastructure.valkey import Valkey
from tests.infrastructure.waiting import SCALE, eventually
from websockets_app.exceptions import ConfigurationError, InvalidResult, NodeUnreachable
from websockets_app.inbound.handle import WebsocketSession
from websockets_app.node import broadcast, elsewhere, layer, mail

CHANNEL = "websockets_app.node.x!y"
LETTER = mail.sending("peer", "text")


@pytest.fixture(autouse=True)
def nothing_failed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "_last_failure", elsewhere._LastFailure())


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    made = Valkey()
    yield made
    made.stop()


@pytest.mark.parametrize("backend", [CORE, PUBSUB])
def test_nobody_waits_long_for_a_layer_that_does_not_answer_nor_twice(
    settings: Settings, valkey: Valkey, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(elsewhere, "PAUSE_SECONDS", 1.0)
    use_layer(settings, valkey.url, backend)
    elsewhere.post(CHANNEL, LETTER)
    with valkey.frozen():
        begun = time.monotonic()
        with pytest.raises(NodeUnreachable, match=r"no answer within 0\.5 s"):
            elsewhere.post(CHANNEL, LETTER)
        assert time.monotonic() - begun < 2.0 * SCALE
        begun = time.monotonic()
        for _ in range(20):
            with pytest.raises(NodeUnreachable, match=r"CHANNEL_LAYERS\['default'\]"):
                elsewhere.post_to_all(LETTER)
        assert time.monotonic() - begun < 1.5 * SCALE
    eventually(is_posted)


def is_posted() -> bool:
    """Tell whether the layer works again."""
    try:
        elsewhere.post(CHANNEL, LETTER)
    except NodeUnreachable:
        return False
    return True


def test_a_layer_that_nobody_runs_is_told_with_its_address(settings: Settings) -> None:
    port = free_port()
    use_layer(settings, f"redis://127.0.0.1:{port}")
    with pytest.raises(NodeUnreachable, match=f":{port}.*when its server runs"):
        elsewhere.post(CHANNEL, LETTER)


@pytest.mark.parametrize(
    ("layers", "alias", "words"),
    [
        ({}, "default", "CHANNEL_LAYERS has no 'default'"),
        (
            {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
            "default",
            r"CHANNEL_LAYERS\['default'\] \(InMemoryChannelLayer\) reaches this process only",
        ),
        ({}, None, r"WEBSOCKETS\['CHANNEL_LAYER'\] is None"),
    ],
)
def test_a_site_without_a_layer_between_processes_is_told_which_setting_it_is(
    settings: Settings,
    layers: dict[str, dict[str, str]],
    alias: str | None,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.CHANNEL_LAYERS = layers
    settings.WEBSOCKETS = {"CHANNEL_LAYER": alias}
    with pytest.raises(ConfigurationError, match=words):
        elsewhere.check_layer_spans_processes()
    assert broadcast.broadcast("room", "hello") == 0
    assert "A broadcast reaches nobody" in caplog.text


def test_text_that_cannot_be_sent_is_refused_where_it_is_sent() -> None:
    with pytest.raises(InvalidResult):
        broadcast.broadcast("room", "half a pair: \ud800")


@pytest.mark.parametrize(
    ("name", "error"), [("half a pair: \ud800", InvalidResult), (7, TypeError)]
)
def test_what_is_no_name_of_a_group_is_refused_before_the_layer_fails_for_it(
    settings: Settings, valkey: Valkey, name: Any, error: type[Exception]
) -> None:
    use_layer(settings, valkey.url)
    session = WebsocketSession("nobody", here=True)
    for ask in (session.join, session.leave, lambda group: broadcast.broadcast(group, "hello")):
        with pytest.raises(error):
            ask(name)
    assert not elsewhere._last_failure.words()
