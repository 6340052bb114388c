"""What tests read from, and post to, the admin's pages."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client as Browser
from django.urls import reverse


def url(model: type[Model], page: str, *args: Any) -> str:
    return reverse(f"admin:websockets_app_{model._meta.model_name}_{page}", args=args)


def act(browser: Browser, action: str, *rows: Model, **data: str) -> Any:
    """Run an action of the list for rows."""
    keys = [str(row.pk) for row in rows]
    posted = {"action": action, "_selected_action": keys, **data}
    return browser.post(url(type(rows[0]), "changelist"), posted)


aact = sync_to_async(act)


async def log_in_operator() -> Browser:
    """Return the browser of somebody who may do everything, for tests that are coroutines."""
    user = await User.objects.acreate_superuser("admin")
    browser = Browser()
    await browser.aforce_login(user)
    return browser


def form_data(response: Any) -> dict[str, Any]:
    """Return what a browser would send of a form that was left as it is."""
    form = response.context["adminform"].form
    data = {name: form[name].value() for name in form.fields}
    for name, field in form.fields.items():
        if field.show_hidden_initial:
            data[form.add_initial_prefix(name)] = data[name]
    data = {name: "" if value is None else value for name, value in data.items()}
    for formset in response.context["inline_admin_formsets"]:
        management = formset.formset.management_form
        data |= {
            management.add_prefix(name): management[name].value() for name in management.fields
        }
    return {name: value for name, value in data.items() if value is not False}


def errors(response: Any) -> dict[str, list[str]]:
    """Return the errors of a form that came back."""
    assert response.status_code == 200
    return {name: list(texts) for name, texts in response.context["adminform"].errors.items()}


def told(response: HttpResponse) -> list[str]:
    """Return the messages that the next page shows."""
    return [str(message) for message in get_messages(response.wsgi_request)]  # type: ignore[attr-defined]


def recorded(row: Model) -> list[str]:
    """Return the change records of a row, as the admin's history shows them."""
    entries = LogEntry.objects.filter(object_id=str(row.pk)).order_by("pk")
    return [entry.get_change_message() for entry in entries]
