"""The directive `model-fields`: a model's columns as a table, read from the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.apps import apps
from django.db.models import Field
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class ModelFields(SphinxDirective):
    """Takes the name of a model of websockets_app."""

    required_arguments = 1
    _head: ClassVar = ("field", "", "default")

    def run(self) -> list[nodes.Node]:
        model = apps.get_model("websockets_app", self.arguments[0])
        fields = [field for field in model._meta.get_fields() if not field.auto_created]
        described = nodes.paragraph(text=(model.__doc__ or "").partition("\n")[0])
        return [described, _table(self._head, map(_row, fields))]


def _row(field: Field[Any, Any]) -> tuple[nodes.Node, ...]:
    default = field.get_default() if _has_telling_default(field) else ""
    default = getattr(default, "value", default)
    return (
        nodes.literal(text=field.name),
        nodes.Text(_described(field)),
        nodes.literal(text=repr(default)) if default != "" else nodes.Text(""),
    )


def _described(field: Field[Any, Any]) -> str:
    values = [_named(value, str(label)) for value, label in field.flatchoices or ()]
    words = [str(field.help_text), "; ".join(values)]
    return " ".join(filter(None, words)) or str(field.verbose_name)


def _named(value: str, label: str) -> str:
    return label if label == value or label.startswith(f"{value}:") else f"{value}: {label}"


def _has_telling_default(field: Field[Any, Any]) -> bool:
    return field.has_default() and (not callable(field.default) or field.default in {list, dict})


def _table(head: tuple[str, ...], rows: Iterator[tuple[nodes.Node, ...]]) -> nodes.table:
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=width) for width in (20, 60, 20)]
    group += nodes.thead("", _tr([nodes.Text(text) for text in head]))
    group += nodes.tbody("", *(_tr(row) for row in rows))
    return nodes.table("", group)


def _tr(cells: Any) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("model-fields", ModelFields)
    return {"parallel_read_safe": True}
