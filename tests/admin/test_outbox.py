"""The page of the outbox: what it shows of messages, and what an operator decides about them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client as Browser
from django.utils import timezone

from tests.admin.pages import act, recorded, told, url
from tests.admin.rows import create_client, create_message
from websockets_app.models import Client, OutboxMessage

LIST = "changelist"


@pytest.fixture
def client_row(db: None) -> Client:
    return create_client()


def statuses() -> dict[str, str]:
    """Return the status of each message by its text."""
    return dict(OutboxMessage.objects.values_list("text", "status"))


@pytest.mark.parametrize(
    ("content", "kind", "shown"),
    [
        ({"text": "<b>hello</b>"}, "text", "&lt;b&gt;hello&lt;/b&gt;"),
        ({"text": "user=tom&pwd=hunter2"}, "text", "user=tom&amp;pwd=…"),
        ({"binary": b"\x00\xff"}, "binary", "00 ff"),
        ({"binary": b"\xa8password\xa7hunter2"}, "binary", "…"),
        ({"close_code": 4000, "close_reason": "that is all"}, "close", "4000 that is all"),
        (
            {"close_code": 4000, "close_cause": "admin"},
            "close",
            "4000 (closed by an operator)",
        ),
    ],
)
def test_each_kind_of_message_is_shown(
    admin_client: Browser, client_row: Client, content: dict[str, object], kind: str, shown: str
) -> None:
    message = OutboxMessage.objects.create(client=client_row, **content)
    listed = admin_client.get(url(OutboxMessage, LIST)).content.decode()
    assert f'<td class="field-kind">{kind}</td>' in listed
    page = admin_client.get(url(OutboxMessage, "change", message.pk)).content.decode()
    assert f'<pre class="websockets-text">{shown}</pre>' in page


def test_the_list_reads_no_content(
    admin_client: Browser, client_row: Client, django_assert_max_num_queries: Callable[..., object]
) -> None:
    create_message(client_row)
    admin_client.get(url(OutboxMessage, LIST))
    with django_assert_max_num_queries(20) as queries:  # type: ignore[attr-defined]
        admin_client.get(url(OutboxMessage, LIST))
    columns = [query["sql"].partition(" FROM ")[0] for query in queries.captured_queries]
    assert not any('"text",' in listed or '"binary",' in listed for listed in columns)


def test_messages_are_filtered_by_client_and_status(
    admin_client: Browser, client_row: Client
) -> None:
    passing = create_client("passing", ephemeral=True)
    mine = create_message(client_row, status="dead")
    theirs = create_message(passing, status="dead")
    create_message(client_row)

    def found(**query: object) -> list[OutboxMessage]:
        page = admin_client.get(url(OutboxMessage, LIST), query)
        return list(page.context["cl"].result_list)

    assert found(client=client_row.pk, status__exact="dead") == [mine]
    assert found(client=passing.pk) == [theirs]


def test_what_failed_is_sent_again_and_the_rest_is_told(
    admin_client: Browser, client_row: Client
) -> None:
    rows = {
        status: create_message(client_row, text=status, status=status)
        for status in ("uncertain", "expired", "dead", "queued", "acknowledged")
    }
    close = create_message(client_row, close_code=1000, status="dead")
    response = act(admin_client, "send_again", *rows.values(), close)
    done, left = told(response)
    assert done.startswith("Queued again: feed: ")
    for status, row in rows.items():
        assert str(row.message_id) in (left if status in {"queued", "acknowledged"} else done)
    assert str(close.message_id) in left
    assert statuses() == {
        **dict.fromkeys(rows, "queued"), "acknowledged": "acknowledged", None: "dead"
    }  # fmt: skip
    assert recorded(rows["dead"]) == ["Queued the message again."]
    assert recorded(rows["acknowledged"]) == []


def test_what_waits_is_given_up_and_the_rest_is_told(
    admin_client: Browser, client_row: Client
) -> None:
    rows = {
        status: create_message(client_row, text=status, status=status)
        for status in ("queued", "uncertain", "claimed", "written")
    }
    done, left = told(act(admin_client, "give_up", *rows.values()))
    assert str(rows["queued"].message_id) in done
    assert str(rows["claimed"].message_id) in left
    given_up = dict.fromkeys(("queued", "uncertain"), "dead")
    assert statuses() == {"claimed": "claimed", "written": "written"} | given_up
    rows["queued"].refresh_from_db()
    assert rows["queued"].reason == "given up by an operator"
    assert rows["queued"].ended_at <= timezone.now()
    assert recorded(rows["uncertain"]) == ["Gave the message up."]


@pytest.mark.parametrize(
    ("status", "offered"),
    [("uncertain", ["send_again", "give_up"]), ("dead", ["send_again"]), ("queued", ["give_up"]),
     ("acknowledged", [])],
)  # fmt: skip
def test_the_page_of_a_message_offers_what_can_be_done(
    admin_client: Browser, client_row: Client, status: str, offered: list[str]
) -> None:
    message = create_message(client_row, status=status)
    page = admin_client.get(url(OutboxMessage, "change", message.pk))
    assert [tool.action for tool in page.context["websockets_tools"]] == offered
    assert ("may get it twice" in page.content.decode()) == (status == "uncertain")


def test_only_who_may_change_messages_decides_about_them(
    staff_browser: Callable[..., Browser], client_row: Client
) -> None:
    message = create_message(client_row, status="uncertain")
    looks = staff_browser("view_outboxmessage")
    act(looks, "send_again", message)
    act(looks, "give_up", message)
    assert statuses() == {"hello": "uncertain"}
    page = looks.get(url(OutboxMessage, "change", message.pk))
    assert page.context["websockets_tools"] == []
    act(staff_browser("change_outboxmessage"), "send_again", message)
    assert statuses() == {"hello": "queued"}
