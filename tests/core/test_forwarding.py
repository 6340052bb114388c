"""Who comes through a proxy: nobody can name themselves, whatever they send."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from websockets_app.core.forwarding import Proxies, address_group, is_loopback, visitor_address

NGINX = "10.0.0.1"
CDN = "198.51.100.7"
VISITOR = "203.0.113.9"
TRUSTED = Proxies.of([NGINX, "198.51.100.0/24", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "who"),
    [
        pytest.param(VISITOR, "", VISITOR, id="nobody between"),
        pytest.param(VISITOR, "1.1.1.1", VISITOR, id="a stranger's word"),
        pytest.param(NGINX, VISITOR, VISITOR, id="one proxy"),
        pytest.param(NGINX, "", NGINX, id="a proxy that says nothing"),
        pytest.param(NGINX, f"1.1.1.1, {VISITOR}", VISITOR, id="a stranger's word before it"),
        pytest.param(NGINX, f"{NGINX}, {VISITOR}", VISITOR, id="a proxy's name in it"),
        pytest.param(NGINX, f"1.1.1.1, {VISITOR}, {CDN}", VISITOR, id="two proxies"),
        pytest.param(NGINX, f"{VISITOR}, 192.0.2.1", "192.0.2.1", id="one that isn't trusted"),
        pytest.param(NGINX, "unknown", NGINX, id="no address"),
        pytest.param(NGINX, f"{VISITOR}, unknown, {CDN}", CDN, id="no address between"),
        pytest.param(NGINX, f"{VISITOR}:4711", VISITOR, id="a port"),
        pytest.param(NGINX, "[2001:db8::1]:4711", "2001:db8::1", id="a port of IPv6"),
        pytest.param(NGINX, "2001:DB8::1", "2001:db8::1", id="IPv6"),
        pytest.param("fd00::1", f" {VISITOR} ", VISITOR, id="a proxy by IPv6"),
        pytest.param(f"::ffff:{NGINX}", VISITOR, VISITOR, id="a proxy by IPv4 in IPv6"),
        pytest.param(NGINX, f"::ffff:{VISITOR}", VISITOR, id="a visitor by IPv4 in IPv6"),
        pytest.param(NGINX, f"{CDN}, {NGINX}", CDN, id="proxies alone"),
        pytest.param("", VISITOR, "", id="a socket that isn't trusted"),
        pytest.param("testclient", VISITOR, "testclient", id="no address at all"),
    ],
)
def test_the_first_who_is_no_trusted_proxy_is_the_visitor(
    peer: str, forwarded: str, who: str
) -> None:
    assert visitor_address(peer, forwarded, TRUSTED) == who


def test_nobody_is_believed_by_default() -> None:
    nobody = Proxies.of([])
    assert visitor_address("127.0.0.1", VISITOR, nobody) == "127.0.0.1"
    assert visitor_address("", VISITOR, nobody) == ""


def test_a_unix_socket_may_be_a_proxys() -> None:
    assert visitor_address("", VISITOR, Proxies.of(["unix"])) == VISITOR
    assert visitor_address(NGINX, VISITOR, Proxies.of(["unix"])) == NGINX


@pytest.mark.parametrize("entry", ["nginx", "10.0.0.1/8", "10.0.0.0/33", "", "0.0.0.0/0", "::/0"])
def test_what_is_no_proxy_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Proxies.of([entry])


@given(st.text(), st.lists(st.sampled_from([NGINX, CDN]), max_size=3))
def test_whatever_a_visitor_sends_their_address_is_told(sent: str, between: list[str]) -> None:
    forwarded = ",".join([sent, VISITOR, *between])
    assert visitor_address(NGINX, forwarded, TRUSTED) == VISITOR


@pytest.mark.parametrize(
    ("address", "group"),
    [
        pytest.param("203.0.113.9", "203.0.113.9", id="IPv4"),
        pytest.param("::ffff:203.0.113.9", "203.0.113.9", id="IPv4 in IPv6"),
        pytest.param("2001:db8:1:2:3::7", "2001:db8:1:2::/64", id="IPv6"),
        pytest.param("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64", id="upper case"),
        pytest.param("fe80::1%eth0", "fe80::/64", id="with a zone"),
        pytest.param("testclient", "testclient", id="no address"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, group: str) -> None:
    assert address_group(address) == group


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_every_address_of_a_64_network_counts_the_same(address: IPv6Address, host: int) -> None:
    assume(address.ipv4_mapped is None)
    network = int(address) >> 64 << 64
    other = IPv6Address(network + host)
    assume(other.ipv4_mapped is None)
    neighbour = IPv6Address((int(address) + 2**64) % 2**128)
    assert address_group(str(address)) == address_group(str(other))
    assert address_group(str(address)) != address_group(str(neighbour))


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.2", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_loopback_is_recognized_in_ipv6_too(address: str, is_local: bool) -> None:
    assert is_loopback(address) is is_local
