"""An http(s) URL becomes one Address, and an IP address is public or not; nothing else in the house parses a URL that
is fetched, and nothing is opened or looked up in here.

    text -> parse -> Address -> (resolved by remote.py) -> is_public of every IP -> connected to that very IP
               ^                                                                          |
               '------------------------- follow <- a redirect ---------------------------'

What the parser does not take is refused: a URL that two programs could read in two ways has no business here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote, urljoin

MAX_URL = 8192
"""Characters."""


class AddressError(ValueError):
    """A URL that cannot be taken, or a redirect that may not be followed."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect and what to ask for there."""

    secure: bool
    """Whether TLS is spoken, with `host` as the name that is checked."""
    host: str
    """In lower case, without brackets and final dot."""
    port: int
    target: str
    """Path and query as they are sent, in ASCII."""

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.secure] else f"{host}:{self.port}"

    def follow(self, location: str) -> Address:
        """Where a redirect leads. Raises AddressError for one from https to http, or to anything else."""
        if not location or _NEVER.search(location):
            raise AddressError("a redirect that says not where to")
        if re.match(r"[a-z][a-z0-9+.-]*:", location, re.IGNORECASE):
            there = parse(location)
        elif location.startswith("//"):
            there = parse(f"{'https' if self.secure else 'http'}:{location}")
        else:  # A path, so that the host which the standard library sees is this one.
            joined = urljoin(f"http://host{self.target}", location.partition("#")[0])
            there = replace(self, target=_target(joined.removeprefix("http://host")))
        if self.secure and not there.secure:
            raise AddressError("a redirect to an address without TLS")
        return there


def parse(url: str) -> Address:
    """The one reading of an http(s) URL. Raises AddressError for user names, backslashes, blanks, control characters,
    hosts that are not plain ASCII (IDNA's xn-- form is), and numbers that only some programs take for an address."""
    found = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if found is None:
        raise AddressError("not a URL that is read here")
    scheme, host, port, target = found.groups()
    secure = scheme.lower() == "https"
    number = int(port) if port else _PORTS[secure]
    if not 0 < number < 65536:
        raise AddressError("no such port")
    return Address(secure, _host(host.lower()), number, _target(target or "/"))


def is_public(address: str) -> bool:
    """Whether an IP address is one host of the public internet, reached without a translation that would hide another:
    neither private, loopback, link-local, multicast or reserved, nor NAT64, 6to4, Teredo, ISATAP or documentation."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            isatap = int(ip) >> 32 & 0xFDFFFFFF == 0x5EFE
            return ip.scope_id is None and ip in _UNICAST and not isatap and not any(ip in net for net in _SPECIAL_6)
        ip = ip.ipv4_mapped
    special = ip.is_multicast or ip.is_reserved or any(ip in net for net in _SPECIAL_4)
    return ip.is_global and not special


def _host(host: str) -> str:
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except ValueError:
            raise AddressError("not an IPv6 address") from None
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(0 < len(label) < 64 for label in labels):
        raise AddressError("not a host name")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):  # 127.1, 0177.0.0.1, 2130706433 and 0x7f.1 are all 127.0.0.1
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise AddressError("not an IPv4 address") from None
    return host


def _target(path: str) -> str:
    if _NEVER.search(path):
        raise AddressError("characters that no URL has")
    path = quote(path, safe="".join(map(chr, range(0x21, 0x7F))))
    path = f"/{path}" if path.startswith("?") else path
    if not path.startswith("/") or len(path) > MAX_URL * 3:
        raise AddressError("not a path")
    return path


_NEVER = re.compile(r"[\0-\x20\x7f\\]")
_PORTS = {False: 80, True: 443}
_URL = re.compile(
    r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?([/?][^#\0-\x20\x7f\\]*)?(?:#[^\0-\x20\x7f]*)?",
    re.IGNORECASE | re.ASCII,
)
_UNICAST = IPv6Network("2000::/3")
_SPECIAL_4 = tuple(
    map(ip_network, ("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "255.0.0.0/8"))
)
_SPECIAL_6 = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""What Python's own tables call global although no host of the internet is there by itself: IETF assignments (Teredo
among them), documentation, 6to4. NAT64 is outside of `_UNICAST`."""
