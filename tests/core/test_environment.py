"""Which environment variables a setting allows, and which a text names."""

from __future__ import annotations

import pytest

from websockets_app.core.environment import AllowedVariables, is_entry, names_in


@pytest.mark.parametrize("name", ["FEED_TOKEN", "FEED_", "PARTNER"])
def test_a_name_or_a_prefix_allows_a_variable(name: str) -> None:
    assert name in AllowedVariables(["FEED_*", "PARTNER"])


@pytest.mark.parametrize("name", ["PARTNER_KEY", "XFEED_TOKEN", "feed_token", "SECRET_KEY", ""])
def test_nothing_else_is_allowed(name: str) -> None:
    assert name not in AllowedVariables(["FEED_*", "PARTNER"])
    assert name not in AllowedVariables([])


@pytest.mark.parametrize("entry", ["*", "", "**", "A*B", "*_TOKEN", "FEED_?", "A B", "9LIVES"])
def test_an_entry_of_another_form_allows_nothing(entry: str) -> None:
    allowed = AllowedVariables([entry])
    assert not is_entry(entry)
    assert not any(name in allowed for name in ("SECRET_KEY", "FEED_TOKEN", "A_B", entry))


def test_the_names_in_a_text_are_found_once_each() -> None:
    assert names_in("ws://env:HOST/?a=env:TOKEN&b=env:TOKEN&c=myenv:X") == ["HOST", "TOKEN"]
