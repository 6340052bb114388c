"""Hide secrets in texts: in payloads by parsing them, in any other text by patterns.

A value is secret if its name says so. Names are compared without case, punctuation and spaces, in
their compatibility form (NFKC): `api-key`, `apiKey` and `ａｐｉＫｅｙ` are one name.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn
from unicodedata import normalize
from urllib.parse import quote, unquote_plus

REDACTED: Final = "…"

PARSE_LIMIT: Final = 64 * 1024
"""Characters of the longest payload that is parsed. The JSON parser can't be interrupted: a MiB
would stop every thread of the process for 10 to 50 ms."""

_MOST_TEXTS: Final = 16
"""How many texts are parsed inside of each other, such as JSON in a form in JSON."""
_MOST_ESCAPES: Final = 3
"""How many times a name may be escaped."""
_MOST_SECRETS: Final = 100
_SURE_LENGTH: Final = 6
"""Characters from which on a secret is hidden inside of words, too."""
_ERROR_LIMIT: Final = 8 * 1024
"""Characters of an error's text that are searched for secrets by patterns, and returned."""
_NAME_WINDOW: Final = 120
"""Characters before a separator that are searched for a name."""

_PUNCTUATION: Final = re.compile(r"[\W_]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"[^\W\d_]+")
_ESCAPE: Final = re.compile(r"\\{1,64}(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")

# Payloads
_JSON_BEGINNING: Final = re.compile(r'\s*[{\["]')
_FIELD: Final = r"[\w.\-\[\]%+~]+="
_FORM: Final = re.compile(
    rf"{_FIELD}[^\s&]*(?:&{_FIELD}[^\s&]*)*|{_FIELD}[^\s;&]*(?:; ?{_FIELD}[^\s;&]*)+"
)
"""Pairs as in a query or as in cookies. A pair without a name may be half of a value."""
_STRUCTURE: Final = re.compile(r"[\s=:&;<>{}\[\]()\"'|,?@%\\]")
_NAME: Final = re.compile(r"[\w .-]{1,80}")
_NAME_FIELDS: Final = frozenset({"name", "key", "field"})
_VALUE_FIELDS: Final = frozenset({"value", "values", "val"})
"""How forms are written as JSON: `{"name": "password", "value": …}`."""
_MARKUP: Final = re.compile(r"[{}\[\]<>=\"\\%\x00-\x08]")

# Other texts
_SEPARATOR: Final = re.compile(r"[:=：＝>]+[ \t]{0,8}")
_NOT_IN_NAME: Final = re.compile(r"[^\w.\-\[\]\\%/ ]")
_ERROR_NAME: Final = re.compile(
    r"(?:[A-Z]\w*)(?:Error|Exception|Warning|Failed|Gone|Expired|Denied|Required|Invalid)$"
)
_OPENING: Final = re.compile(r"[bBrRuU]{0,2}(\\{0,64})([\"'])")
_PLAIN_VALUE: Final = re.compile(
    r"(?:(?:Bearer|Basic|Digest|Token|Negotiate)[ \t]+)?[^\s&;,)}\]\"'<>]*", re.IGNORECASE
)
_LONG_WORD: Final = re.compile(rf"\w{{{_SURE_LENGTH},}}")
_URI: Final = re.compile(r"://([^\s\"'<>]+)")
_TOKEN: Final = re.compile(r"\bBearer\s+[^\s,;\"']+|\beyJ[\w-]{8,}\.[\w.-]*")
"""A bearer token or JWT, whatever its name."""

_Hide = Callable[[str], str]


class Redactor:
    """Hides the values whose names contain one of `names`, or have one of `words` as a word.

    The word `pin` is in `user_pin` and `userPin`, but not in `shipping`. Without names and words
    nothing is hidden.
    """

    def __init__(self, names: Iterable[str], words: Iterable[str] = ()) -> None:
        self._names = tuple(filter(None, map(_squeezed, names)))
        self._words = frozenset(filter(None, map(_squeezed, words)))
        self._all_names = (*self._names, *self._words)
        self._is_known_secret = lru_cache(maxsize=2048)(self._is_secret)

    def is_secret(self, name: str) -> bool:
        """Return whether a value of this name is secret."""
        decide = self._is_known_secret if len(name) <= _NAME_WINDOW else self._is_secret
        return decide(name)

    def _is_secret(self, name: str) -> bool:
        plain = _unescaped(name)
        squeezed = _squeezed(plain)
        return (
            any(known in squeezed for known in self._names)
            or squeezed in self._words
            or not self._words.isdisjoint(_words_in(plain))
        )

    # Payloads

    def payload(self, text: str, limit: int = PARSE_LIMIT) -> str:
        """Return `text` with the values of secret names hidden; JSON stays valid JSON.

        A payload can't be parsed if it is neither JSON nor form-encoded, or longer than
        `PARSE_LIMIT`. If it may then hold a secret in its first `limit` characters, which are
        those that the caller shows, nothing is left of it but `…`.
        """
        if not self._all_names:
            return text
        if len(text) <= PARSE_LIMIT:
            return self._shown(text, limit=limit)
        return self._shown_unparsed(text[:limit])

    def binary_payload(self, data: bytes, limit: int = PARSE_LIMIT) -> bytes | None:
        """Do for `data` what `payload` does for text; None if nothing is left of it."""
        if not self._all_names:
            return data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            # Some formats write the length of a name before it, which may be a letter.
            squeezed = _squeezed(data[:limit].decode("ascii", "replace"))
            return None if any(name in squeezed for name in self._all_names) else data
        shown = self.payload(text, limit)
        if shown == REDACTED != text:
            return None
        return data if shown == text else shown.encode(errors="replace")

    def _shown(self, text: str, depth: int = 0, limit: int = PARSE_LIMIT) -> str:
        if not _STRUCTURE.search(text):
            return _TOKEN.sub(REDACTED, text)  # a single word: a name at most, not its value
        try:
            value = _parsed(text, depth)
        except (ValueError, RecursionError):
            if _is_form(text, depth):
                return self._shown_form(text, depth + 1)
            return self._shown_unparsed(text[:limit])
        try:
            shown = self._shown_value(value, depth + 1)
            return text if shown == value else _as_json(shown)
        except (ValueError, RecursionError):
            return REDACTED

    def _shown_value(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            hidden = self._secret_members(value)
            return {
                self._shown_name(name, depth): (
                    REDACTED if name in hidden else self._shown_value(item, depth)
                )
                for name, item in value.items()
            }
        if isinstance(value, list):
            if self._is_secret_pair(value):
                return [value[0], REDACTED]
            return [self._shown_value(item, depth) for item in value]
        return self._shown(value, depth) if isinstance(value, str) else value

    def _shown_name(self, name: str, depth: int) -> str:
        return name if _NAME.fullmatch(name) else self._shown(name, depth)

    def _secret_members(self, members: Mapping[str, Any]) -> set[str]:
        """Return the names whose values are secret: `password`, or `value` beside such a name."""
        hidden = {name for name in members if self.is_secret(name)}
        for field in _NAME_FIELDS & members.keys():
            if isinstance(name := members[field], str) and self.is_secret(name):
                hidden |= _VALUE_FIELDS & members.keys()
        return hidden

    def _is_secret_pair(self, items: list[Any]) -> bool:
        """Return whether `items` are a secret name and its value, as `Object.entries` has them."""
        return len(items) == 2 and isinstance(items[0], str) and self.is_secret(items[0])

    def _shown_form(self, text: str, depth: int) -> str:
        separator, pairs = _pairs_in(text)
        shown = [self._shown_pair(pair, depth) for pair in pairs]
        # A value that can't be parsed may go on in the next pair.
        return REDACTED if None in shown else separator.join(filter(None, shown))

    def _shown_pair(self, pair: str, depth: int) -> str | None:
        """Return `pair` without secrets, or None if its value may hold one and can't be parsed."""
        name, _, value = pair.partition("=")
        if self.is_secret(unquote_plus(name)):
            return f"{name}={REDACTED}"
        decoded = unquote_plus(value)
        shown = self._shown(decoded, depth)
        if shown == decoded:
            return pair
        return None if shown == REDACTED else f"{name}={quote(shown, errors='replace')}"

    def _shown_unparsed(self, text: str) -> str:
        return REDACTED if self._mentions(text) else self.text(text)

    def _mentions(self, text: str) -> bool:
        """Return whether `text`, which can't be parsed, may name a secret and hold its value.

        In prose a word such as `pin` or `session` counts only if it stands before a separator.
        """
        plain = _unescaped(text)
        squeezed = _squeezed(plain)
        if any(known in squeezed for known in self._names):
            return True
        if _MARKUP.search(text):
            return not self._words.isdisjoint(_words_in(plain))
        return any(
            self._words.intersection(_words_in(_before(plain, separator))[-2:])
            for separator in _SEPARATOR.finditer(plain)
        )

    # Errors about payloads

    def error_text(self, message: str | bytes | None, params: Mapping[str, Any]) -> _Hide:
        """Return a function that hides secrets in what a callback raised.

        That may quote the secrets of the `message` and the `params` that the callback was given,
        without their names. If a message may hold a secret and can't be parsed, the function
        hides the text whole.
        """
        if not self._all_names:
            return _unchanged
        try:
            secrets = set(self._secrets_of(message))
        except (ValueError, RecursionError):
            return _hidden_whole
        secrets.update(str(value) for name, value in params.items() if self.is_secret(name))
        known = {variant for secret in secrets for variant in _variants(secret)}
        if len(known) > _MOST_SECRETS:
            return _hidden_whole
        if not known:
            return lambda text: self.text(text[:_ERROR_LIMIT])
        longest_first = sorted(known, key=len, reverse=True)
        pattern = re.compile("|".join(map(_literal, longest_first)))

        def hide(text: str) -> str:
            shown = pattern.sub(REDACTED, text[:PARSE_LIMIT])
            if len(text) > PARSE_LIMIT:  # the cut may have left the beginning of a secret
                shown = shown[: -len(longest_first[0])]
            return self.text(shown[:_ERROR_LIMIT])

        return hide

    def _secrets_of(self, message: str | bytes | None) -> Iterator[str]:
        """Yield the secrets in `message`; raise `ValueError` if it may have others."""
        if not message:
            return
        if len(message) > PARSE_LIMIT:
            raise ValueError("too long to be parsed")
        text = message if isinstance(message, str) else message.decode("utf-8", "replace")
        yield from self._secrets_in_text(text, 0)

    def _secrets_in_text(self, text: str, depth: int) -> Iterator[str]:
        if not _STRUCTURE.search(text):
            return
        try:
            value = _parsed(text, depth)
        except ValueError:
            if _is_form(text, depth):
                for pair in _pairs_in(text)[1]:
                    name, _, value = pair.partition("=")
                    members = {unquote_plus(name): unquote_plus(value)}
                    yield from self._secrets_in(members, depth + 1)
            elif self._mentions(text):
                raise
        else:
            yield from self._secrets_in(value, depth + 1)

    def _secrets_in(self, value: Any, depth: int) -> Iterator[str]:
        if isinstance(value, dict):
            hidden = self._secret_members(value)
            for name, item in value.items():
                yield from _leaves(item) if name in hidden else self._secrets_in(item, depth)
        elif isinstance(value, list):
            if self._is_secret_pair(value):
                yield from _leaves(value[1])
                return
            for item in value:
                yield from self._secrets_in(item, depth)
        elif isinstance(value, str):
            yield from self._secrets_in_text(value, depth)

    # Other texts

    def text(self, text: str) -> str:
        """Return `text`, of which nothing is known, with what looks like a secret hidden.

        These are the values in `name=value`, `name: value` and `"name": value` with a secret
        name, user names and passwords in URIs, bearer tokens and JWTs.
        """
        if not self._all_names:
            return text
        return self._without_values(_TOKEN.sub(REDACTED, _URI.sub(_without_user, text)))

    def _without_values(self, text: str) -> str:
        pieces: list[str] = []
        done = 0
        for separator in _SEPARATOR.finditer(text):
            start = separator.end()
            if start <= done or start == len(text):
                continue
            name, is_quoted = _name_at_end(_before(text, separator))
            if not name or not self.is_secret(name):
                continue
            to_line_end = ":" in separator[0] and not is_quoted
            if to_line_end and ("/" in name or _ERROR_NAME.search(name)):
                continue
            shown, end = _hidden_value(text, start, to_line_end=to_line_end)
            pieces += [text[done:start], shown]
            done = end
        return "".join([*pieces, text[done:]]) if pieces else text


def _parsed(text: str, depth: int) -> Any:
    """Return the value of JSON, `depth` texts inside of each other; raise `ValueError` if none."""
    if depth > _MOST_TEXTS or not _JSON_BEGINNING.match(text):
        raise ValueError("no JSON")
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_members)


def _is_form(text: str, depth: int) -> bool:
    return depth <= _MOST_TEXTS and _FORM.fullmatch(text) is not None


def _pairs_in(form: str) -> tuple[str, list[str]]:
    """Return what separates the pairs of `form`, and the pairs."""
    separator = next((mark for mark in ("&", "; ", ";") if mark in form), "&")
    return separator, form.split(separator)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of an object; refuse a name that hides an earlier member."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _squeezed(name: str) -> str:
    return _PUNCTUATION.sub("", normalize("NFKC", name)).casefold()


def _words_in(text: str) -> list[str]:
    apart = _HUMP.sub(" ", normalize("NFKC", text))
    return [word.casefold() for word in _WORD.findall(apart)]


def _unescaped(text: str) -> str:
    r"""Return `text` with what JSON, forms and HTML escape: `\u0070`, `%70`, `&#112;`."""
    for _ in range(_MOST_ESCAPES):
        before = text
        if "%" in text:
            text = unquote_plus(text)
        if "\\" in text:
            text = _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)
        if "&" in text:
            text = html.unescape(text)
        if text == before:
            break
    return text


def _unchanged(text: str) -> str:
    return text


def _hidden_whole(text: str) -> str:
    return REDACTED if text else text


def _leaves(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a secret value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _variants(secret: str) -> Iterator[str]:
    """Yield `secret` as it may stand in an error's text, and the long parts of it."""
    if secret.strip():
        yield secret
        yield repr(secret)[1:-1]
        yield json.dumps(secret)[1:-1]
        yield quote(secret, safe="", errors="replace")
        yield from (part for part in secret.split() if len(part) >= _SURE_LENGTH)
        yield from _LONG_WORD.findall(secret)


def _literal(secret: str) -> str:
    literal = re.escape(secret)
    return literal if len(secret) >= _SURE_LENGTH else rf"(?<!\w){literal}(?!\w)"


def _without_user(found: re.Match[str]) -> str:
    """Return the rest of a URI without user name and password; hide it all if that is unclear."""
    if "@" not in found[1]:
        return found[0]
    authority, *rest = re.split("([/?#])", found[1], maxsplit=1)
    if "@" in "".join(rest):
        return f"://{REDACTED}"
    return "".join(["://", authority.rpartition("@")[2], *rest])


def _before(text: str, found: re.Match[str]) -> str:
    return text[max(0, found.start() - _NAME_WINDOW) : found.start()]


def _name_at_end(text: str) -> tuple[str, bool]:
    """Return the name that `text` ends with, or an empty string, and whether it is quoted."""
    text = text.rstrip()
    bare = text.rstrip("\"'")
    if bare != text:
        bare = bare.rstrip("\\")
        return bare[max(bare.rfind('"'), bare.rfind("'")) + 1 :], True
    # The last two words: a name may be `api key`.
    return " ".join(_NOT_IN_NAME.split(text)[-1].split()[-2:]), False


def _hidden_value(text: str, start: int, *, to_line_end: bool) -> tuple[str, int]:
    """Return what to show instead of the value that begins at `start`, and where it ends."""
    if opening := _OPENING.match(text, start):
        end = _closing(text, opening)
        return (f"{opening[0]}{REDACTED}{opening[1]}{opening[2]}", end) if end else (
            f"{opening[0]}{REDACTED}", len(text)
        )  # fmt: skip
    if text[start] in "{[(":
        try:
            return REDACTED, json.JSONDecoder().raw_decode(text, start)[1]
        except (ValueError, RecursionError):
            return REDACTED, len(text)
    if to_line_end:
        end = text.find("\n", start)
        return REDACTED, len(text) if end < 0 else end
    found = _PLAIN_VALUE.match(text, start)
    end = found.end() if found else start
    return (REDACTED, end) if end > start else ("", start)


def _closing(text: str, opening: re.Match[str]) -> int:
    r"""Return the position after the quote that closes `opening`; 0 if there is none.

    In JSON inside of JSON a quote is `\"`, and one more level further in `\\\"`.
    """
    depth, mark = len(opening[1]), opening[2]
    position = opening.end()
    while (found := text.find(mark, position)) >= 0:
        before = text[position:found]
        escapes = len(before) - len(before.rstrip("\\"))
        if escapes % (2 * depth + 2) == depth:
            return found + 1
        position = found + 1
    return 0
