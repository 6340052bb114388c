"""The forms of endpoints and clients: a handler to choose or to type, in any of its spellings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ..conf import app_settings
from ..dispatch.engines import get_engine
from ..dispatch.loader import resolve_typed
from ..dispatch.services import resolve_services
from ..exceptions import ConfigurationError, HandlerProblem, UnknownEngine
from ..models.validators import validate_services
from ..redaction import get_logger

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm

WIDE: Final = {"endpoint", "handler", "uri"}

logger = get_logger(__name__)


class HandlerInput(AdminTextInputWidget):
    """A text input that offers the handlers there are."""

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        offered = f"{(attrs or {}).get('id', name)}-offered"
        attrs = {**(attrs or {}), "list": offered, "autocomplete": "off", "spellcheck": "false"}
        handlers = [(handler,) for engine in app_settings.ENGINES for handler in _discover(engine)]
        options = format_html_join("", '<option value="{}"></option>', handlers)
        field = super().render(name, value, attrs, renderer)
        return format_html('{}<datalist id="{}">{}</datalist>', field, offered, options)


class JSONDecoder(json.JSONDecoder):
    """Reports JSON that Python can't read as invalid, which Django shows as an error of the field.

    Python raises other errors for integers of thousands of digits and for deep nesting.
    """

    def decode(self, text: str) -> Any:  # type: ignore[override]
        try:
            return super().decode(text)
        except (ValueError, RecursionError) as error:
            raise json.JSONDecodeError(str(error), text, 0) from error


class DescriptorForm(ModelForm):
    """Stores the one spelling of the handler; refuses, before any import, what isn't allowed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Somebody who may only look has no fields.
        if "engine" in self.fields:
            self.fields["engine"] = _engine_field(self.fields["engine"], self.instance.engine)
        if "handler" in self.fields:
            self.fields["handler"].widget = HandlerInput()
        for name, field in self.fields.items():
            if isinstance(field, forms.JSONField):
                field.decoder = JSONDecoder
                field.widget = AdminTextareaWidget(attrs={"rows": 2, "spellcheck": "false"})
            elif name in WIDE:
                field.widget.attrs["class"] = "vLargeTextField"
            elif name == "description":
                field.widget.attrs["rows"] = 3

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self._fill_empty_json(cleaned)
        if "handler" in cleaned and "engine" in cleaned:
            self._resolve_handler(cleaned)
        if cleaned.get("services"):
            self._resolve_services(cleaned)
        return cleaned

    def _resolve_handler(self, cleaned: dict[str, Any]) -> None:
        try:
            cleaned["handler"] = resolve_typed(cleaned["engine"], cleaned["handler"])
        except (UnknownEngine, ConfigurationError) as problem:
            self.add_error("engine", str(problem))
        except HandlerProblem as problem:
            self.add_error("handler", str(problem))

    def _resolve_services(self, cleaned: dict[str, Any]) -> None:
        try:
            cleaned["services"] = resolve_services(validate_services(cleaned["services"]))
        except (HandlerProblem, ConfigurationError) as problem:
            self.add_error("services", str(problem))
        except ValidationError as error:
            self.add_error("services", error)

    def _fill_empty_json(self, cleaned: dict[str, Any]) -> None:
        """Take an emptied field for an empty list or object, which it was before."""
        for name, field in self.fields.items():
            if isinstance(field, forms.JSONField) and cleaned.get(name, "") is None:
                cleaned[name] = self._meta.model._meta.get_field(name).get_default()


def _engine_field(field: forms.Field, current: str) -> forms.ChoiceField:
    """Return the choice between the configured engines; the row's own stays to be seen."""
    engines = dict.fromkeys((*app_settings.ENGINES, current))
    return forms.ChoiceField(
        choices=[(engine, engine) for engine in engines],
        label=field.label,
        initial=field.initial,
        help_text=field.help_text,
    )


def _discover(engine: str) -> list[str]:
    try:
        return get_engine(engine).discover()
    except Exception:  # packages are imported to look into them: whatever those raise
        logger.exception("The handlers of engine %s can't be listed", engine)
        return []
