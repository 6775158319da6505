"""Laws of addresses: one reading of a URL or none, and no address of a private network passes for public."""

from __future__ import annotations

import pytest

from saccade.media.address import Address, AddressError, is_public, parse


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://example.org", Address(False, "example.org", 80, "/")),
        ("HTTPS://EXAMPLE.org:8443/a%20b?c=d#e", Address(True, "example.org", 8443, "/a%20b?c=d")),
        ("https://example.org.?q", Address(True, "example.org", 443, "/?q")),
        ("http://[2606:4700::0:1111]:81/x", Address(False, "2606:4700::1111", 81, "/x")),
        ("http://8.8.8.8/", Address(False, "8.8.8.8", 80, "/")),
        ("https://a_b.example/bild-ä.png", Address(True, "a_b.example", 443, "/bild-%C3%A4.png")),
        ("https://example.org//double", Address(True, "example.org", 443, "//double")),
    ],
)
def test_readings(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        *("", "http:", "http://", "http:///a", "http:/a", "//a", "a", "ftp://a/", "file:///a", "gopher://a/"),
        *("http://a b/", " http://a/", "http://a/ ", "\thttp://a/", "http://a\r\nX: y/", "http://a/\n", "http://a/\0"),
        *("http://user@a/", "http://user:pw@a/", "http://127.0.0.1:6666\\@1.1.1.1", "http://1.1.1.1\\@127.0.0.1/"),
        *(
            "http://a\\b/",
            "http://a/\\b",
            "http://a:b/",
            "http://a:/@b",
            "http://a:0/",
            "http://a:65536/",
            "http://a:-1/",
        ),
        *("http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://0x7f000001/"),
        *("http://①②⑦.0.0.1/", "http://127。0。0。1/", "http://exämple.org/", "http://a%2eb/", "http://%61/"),
        *("http://[::1", "http://::1/", "http://[fe80::1%25eth0]/", "http://[::1]a/", "http://[v1.a]/", "http://[]/"),
        *("http://a..b/", "http://.a/", "http://./", "http://a,b/", "http://a;b/", "http://" + "a" * 64 + ".b/"),
        "http://a/" + "x" * 9000,
    ],
)
def test_what_is_not_read(url: str) -> None:
    with pytest.raises(AddressError):
        parse(url)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/c", "https://a.example:99/c"),
        ("c?d", "https://a.example:99/x/c?d"),
        ("?d", "https://a.example:99/x/y?d"),
        ("../../../c", "https://a.example:99/c"),
        ("#e", "https://a.example:99/x/y?z"),
        ("//b.example/c", "https://b.example/c"),
        ("https://b.example", "https://b.example/"),
        ("HTTPS://b.example:7/", "https://b.example:7/"),
        ("/http://127.0.0.1/", "https://a.example:99/http://127.0.0.1/"),
    ],
)
def test_redirects(location: str, expected: str) -> None:
    assert parse("https://a.example:99/x/y?z").follow(location) == parse(expected)


@pytest.mark.parametrize(
    "location",
    [
        "http://b.example/",
        "http:/c",
        "file:///etc/passwd",
        "ftp://b/",
        "data:,x",
        "//user@b/",
        "//[::1",
        "/a b",
        "\\\\b\\c",
    ],
)
def test_redirects_that_are_not_followed(location: str) -> None:
    with pytest.raises(AddressError):
        parse("https://a.example/x/y").follow(location)


def test_without_tls_a_redirect_may_gain_it() -> None:
    assert parse("http://a.example/").follow("https://a.example/").secure
    assert parse("http://a.example/").follow("http://b.example/").host == "b.example"


def test_public_addresses() -> None:
    for address in ("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8"):
        assert is_public(address), address


FORBIDDEN = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1"),
    *("2001::1", "2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:10::1", "2001:20::1", "2001:2::1"),
    *(
        "2001:db8::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606::1%1",
        "fec0::1",
        "ff02::1",
    ),
    *("100::1", "5f00::1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1", "localhost", "", "1.2.3"),
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_everything_else(address: str) -> None:
    assert not is_public(address)
