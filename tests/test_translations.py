"""The catalogues are complete: whoever adds a string also translates it, and compiles.

::

    cd websockets_app
    ../.venv/bin/python ../manage.py makemessages -l de --add-location file --no-obsolete --no-wrap
    # … translate …
    ../.venv/bin/python ../manage.py compilemessages
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract, extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.utils.translation.template import templatize

from tests.infrastructure.site import REPOSITORY

APP = REPOSITORY / "websockets_app"
CATALOGUES = sorted((APP / "locale").glob("*/LC_MESSAGES/django.po"))
KEYWORDS = DEFAULT_KEYWORDS | {"gettext_lazy": None, "ngettext_lazy": (1, 2)}
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sd]")

Message = str | tuple[str, ...]

each_catalogue = pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])


def test_there_are_catalogues() -> None:
    assert CATALOGUES


@each_catalogue
def test_every_string_of_the_source_is_in_the_catalogue_and_no_other(path: Path) -> None:
    in_source, in_catalogue = set(strings_of_the_source()), set(translations(catalogue(path)))
    assert in_source - in_catalogue == set(), "run makemessages, and translate"
    assert in_catalogue - in_source == set(), "run makemessages"


@each_catalogue
def test_everything_is_translated_and_nothing_fuzzy(path: Path) -> None:
    left = [message.id for message in catalogue(path) if message.id and message.fuzzy]
    left += [text for text, said in translations(catalogue(path)).items() if not all(forms(said))]
    assert left == []


@each_catalogue
def test_placeholders_survive_the_translation(path: Path) -> None:
    for text, said in translations(catalogue(path)).items():
        for form in forms(said):
            assert sorted(PLACEHOLDER.findall(form)) == sorted(
                PLACEHOLDER.findall(forms(text)[-1])
            )


@each_catalogue
def test_what_is_compiled_is_what_is_written(path: Path) -> None:
    with path.with_suffix(".mo").open("rb") as compiled:
        assert translations(read_mo(compiled)) == translations(catalogue(path)), (
            "run compilemessages"
        )


def catalogue(path: Path) -> Catalog:
    with path.open("rb") as source:
        return read_po(source)


def translations(catalog: Catalog) -> dict[Message, Message]:
    """Return the translations by their string; of one with a plural both are tuples."""
    return {key(entry.id): key(entry.string) for entry in catalog if entry.id}


def strings_of_the_source() -> Iterator[Message]:
    """Yield every string that the code and the templates mark, as ``makemessages`` would."""
    for _, _, message, _, _ in extract_from_dir(APP, [("**.py", "python")], keywords=KEYWORDS):
        yield key(message)
    for template in (APP / "templates").rglob("*.html"):
        # Django makes Python of a template for the extraction; its indentation means nothing.
        source = templatize(template.read_text(encoding="utf-8"))
        lines = io.BytesIO("\n".join(line.strip() for line in source.splitlines()).encode())
        for _, message, _, _ in extract("python", lines, keywords=KEYWORDS):
            yield key(message)


def key(message: str | list[str] | tuple[str, ...]) -> Message:
    return message if isinstance(message, str) else tuple(message)


def forms(message: Message) -> tuple[str, ...]:
    return (message,) if isinstance(message, str) else message
