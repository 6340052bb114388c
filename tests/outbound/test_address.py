"""Clients reach public addresses, and what the setting lists."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

import pytest

from websockets_app.exceptions import AddressNotAllowed
from websockets_app.outbound.address import (
    AllowedHosts,
    Host,
    check_behind_proxy,
    is_public,
    vetted,
)

NOBODY = AllowedHosts([])


def host(name: str) -> Host:
    return Host(name=name, port=80, written="env:HOST")


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",  # noqa: S104
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "224.0.0.1", "224.0.1.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "198.18.0.1",
        "203.0.113.5", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
        "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "2001::1", "3fff::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_a_public_address_is_allowed(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


async def unresolvable(host: str, port: int) -> Sequence[str]:
    raise AssertionError("a literal address is not looked up")


async def test_a_literal_address_is_judged_as_it_is() -> None:
    assert await vetted(host("8.8.8.8"), NOBODY, unresolvable) == ["8.8.8.8"]
    with pytest.raises(AddressNotAllowed, match="ALLOWED_CLIENT_HOSTS"):
        await vetted(host("127.0.0.1"), NOBODY, unresolvable)


async def resolve(host: str, port: int) -> Sequence[str]:
    return {
        "mixed.example": ["10.0.0.1", "8.8.8.8"],
        "inside.example": ["10.0.0.1", "fd00::1"],
        "127.1": ["127.0.0.1"],
    }[host]


async def test_of_a_name_only_the_public_addresses_are_dialled() -> None:
    assert await vetted(host("mixed.example"), NOBODY, resolve) == ["8.8.8.8"]


async def test_a_name_without_a_public_address_is_refused_without_its_addresses() -> None:
    with pytest.raises(AddressNotAllowed, match=r"^env:HOST isn't public") as raised:
        await vetted(host("inside.example"), NOBODY, resolve)
    assert not re.search(r"inside|10\.0|fd00", str(raised.value))


async def test_an_unusual_spelling_of_an_address_is_judged_by_what_it_means() -> None:
    with pytest.raises(AddressNotAllowed):
        await vetted(host("127.1"), NOBODY, resolve)


@pytest.mark.parametrize("entry", ["inside.example", ".example", "Inside.Example."])
async def test_a_name_may_be_listed_with_whatever_addresses_it_has(entry: str) -> None:
    found = await vetted(host("inside.example"), AllowedHosts([entry]), resolve)
    assert found == ["10.0.0.1", "fd00::1"]


@pytest.mark.parametrize("entry", ["10.0.0.0/8", "10.0.0.1"])
async def test_of_a_name_the_listed_addresses_are_dialled(entry: str) -> None:
    assert await vetted(host("inside.example"), AllowedHosts([entry]), resolve) == ["10.0.0.1"]


async def test_a_listed_name_does_not_open_its_neighbours() -> None:
    with pytest.raises(AddressNotAllowed):
        await vetted(host("inside.example"), AllowedHosts(["side.example", ".xample"]), resolve)


def test_a_listed_address_counts_inside_others_too() -> None:
    assert AllowedHosts(["127.0.0.1"]).has_address(ipaddress.ip_address("::ffff:127.0.0.1"))
    assert AllowedHosts(["[::1]"]).has_address(ipaddress.ip_address("::1"))


# Behind a proxy


async def resolve_or_fail(host: str, port: int) -> Sequence[str]:
    try:
        return await resolve(host, port)
    except KeyError:
        raise socket.gaierror from None


@pytest.mark.parametrize(
    "name",
    [
        "169.254.169.254", "169.254.169.254.", "10.0.0.1", "::1", "fd00:ec2::254",
        "::ffff:169.254.169.254", "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376", "010.8.8.8", "127.1", "169.254.169%2e254", "169.254.169.254 x",
        "metadata", "metadata.google.internal", "metadata.google.internal.", "METADATA.goog",
        "inside.example", "mixed.example", "",
    ],
)  # fmt: skip
async def test_a_proxy_is_not_asked_for_what_is_not_public(name: str) -> None:
    with pytest.raises(AddressNotAllowed, match=r"^env:HOST isn't public.*ALLOWED_CLIENT_HOSTS"):
        await check_behind_proxy(host(name), NOBODY, resolve_or_fail)


@pytest.mark.parametrize("name", ["8.8.8.8", "2606:4700::1111", "only-the-proxy.example", "a_b"])
async def test_a_proxy_is_asked_for_public_hosts_and_for_names_that_it_alone_knows(
    name: str,
) -> None:
    await check_behind_proxy(host(name), NOBODY, resolve_or_fail)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("10.0.0.0/8", "10.0.0.1"),
        ("169.254.169.254", "169.254.169.254"),
        ("inside.example", "inside.example"),
        (".example", "inside.example"),
        ("metadata.google.internal", "metadata.google.internal"),
    ],
)
async def test_a_proxy_is_asked_for_what_is_listed(entry: str, name: str) -> None:
    await check_behind_proxy(host(name), AllowedHosts([entry]), resolve_or_fail)


async def test_a_suffix_does_not_open_the_metadata_service() -> None:
    with pytest.raises(AddressNotAllowed):
        await check_behind_proxy(
            host("metadata.google.internal"), AllowedHosts([".internal"]), resolve_or_fail
        )
