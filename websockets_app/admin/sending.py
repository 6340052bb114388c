"""The action that sends a text to the chosen rows, and asks for it first."""

from __future__ import annotations

from typing import TypeVar

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AdminTextareaWidget
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from .base import WebsocketsAdmin

ModelT = TypeVar("ModelT", bound=Model)


class TextForm(forms.Form):
    """What is to be sent to the chosen rows."""

    text = forms.CharField(label=_("Text"), strip=False, widget=AdminTextareaWidget)


class SendingAdmin(WebsocketsAdmin[ModelT]):
    """The page of rows that can be written to by who has the *send* permission."""

    send_text_template = "admin/websockets_app/send_text.html"

    def whereto(self, number: int) -> str:
        """Return the words, before a list of so many rows, that tell where the text goes."""
        raise NotImplementedError

    def deliver(self, request: HttpRequest, queryset: QuerySet[ModelT], text: str) -> None:
        """Send `text` to each row; record and tell what became of it."""
        raise NotImplementedError

    @admin.action(
        permissions=["send"], description=_("Send text to selected %(verbose_name_plural)s")
    )
    def send_text(
        self, request: HttpRequest, queryset: QuerySet[ModelT]
    ) -> TemplateResponse | None:
        form = TextForm(request.POST if "text" in request.POST else None)
        if not form.is_valid():
            return self._ask_for_text(request, queryset, form)
        self.deliver(request, queryset, form.cleaned_data["text"])
        return None

    def _ask_for_text(
        self, request: HttpRequest, queryset: QuerySet[ModelT], form: TextForm
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Send text"),
            "opts": self.opts,
            "media": self.media + form.media,
            "form": form,
            "rows": queryset,
            "whereto": self.whereto(len(queryset)),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, self.send_text_template, context)
