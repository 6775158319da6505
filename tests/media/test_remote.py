"""Laws of remote fetches: bytes arrive whole from where they may come from, a counting server on this machine is never
reached by any trick, and every failure is one error in time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from inside import DATA, Inside

from saccade.errors import MediaError
from saccade.media import remote as remote_module
from saccade.media.address import is_public
from saccade.media.fetch import Fetcher
from saccade.media.limits import MediaLimits
from saccade.media.remote import Remote
from saccade.types import MediaRef

PARAM = "messages[0].content[1].image_url"


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    server = Inside()
    yield server
    server.listener.close()


@pytest.fixture
def untouched(inside: Inside) -> Iterator[Inside]:
    """The same, which may not be reached by the test."""
    before = inside.hits
    yield inside
    time.sleep(0.02)
    assert inside.hits == before


def bring(*urls: str, **limits: Any) -> list[bytes]:
    """What a server's fetcher brings, one after the other."""

    async def run() -> list[bytes]:
        fetcher = Fetcher(MediaLimits(**limits))
        found = [fetcher.fetch(await fetcher.bring(MediaRef("image", PARAM, url=url))).data for url in urls]
        fetcher.remote.close()
        return found

    return asyncio.run(run())


def refusal(url: str, **limits: Any) -> MediaError:
    with pytest.raises(MediaError) as caught:
        bring(url, **limits)
    error = caught.value
    assert (error.param, error.code) == (PARAM, "invalid_media")
    assert len(f"{error.message} {error.hint}") <= 400
    for leak in ("127.0.0.1", "169.254", "://", "Errno", "0x"):
        assert leak not in f"{error.message} {error.hint}"
    return error


LOCAL = {"allow_hosts": frozenset({"127.0.0.1"})}
SAME = "could not be fetched: it is not allowed, does not exist, or does not answer in time"


def test_remote_is_off_by_default(untouched: Inside) -> None:
    for url in (f"{untouched.url}/good", "https://example.org/a.png", "HTTP://example.org"):
        assert "--allow-remote-media" in (refusal(url).hint or "")


def test_hosts_allowed_by_name(inside: Inside) -> None:
    assert bring(*(f"{inside.url}/{path}" for path in ("good", "here", "typed")), **LOCAL) == [DATA] * 3
    assert bring(f"{inside.url}/chunked", **LOCAL) == [b"hello"]
    assert SAME in refusal("https://example.org/", **LOCAL).message, "no other host"
    assert SAME in refusal(f"http://localhost:{inside.port}/", **LOCAL).message, "by name means by this name"


def test_what_the_other_side_sees(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    inside.heads.clear()
    bring(f"{inside.url}/a?b#c", **LOCAL)
    lines = inside.heads[0].split("\r\n")
    assert lines[0] == "GET /a?b HTTP/1.1"
    assert {line.partition(":")[0].lower() for line in lines[1:] if line} == {
        *("host", "user-agent", "accept", "accept-encoding", "connection")
    }
    assert "User-Agent: saccade" in lines
    assert "Accept-Encoding: identity" in lines


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "answered with status 404"),
        ("broken", "answered with status 500"),
        ("partial", "answered with status 206"),
        ("packed", "answered with a packed body"),
        ("page", "neither a picture nor a video"),
        ("round", "redirects more than 5 times"),
        *((path, SAME) for path in ("file", "nowhere", "elsewhere", "nonsense", "short", "rude", "long", "many")),
        *((path, SAME) for path in ("interim", "smuggled")),
        ("good", "larger than 1,000 bytes"),
        ("endless", "larger than 1,000 bytes"),
    ],
)
def test_answers_that_are_refused(inside: Inside, path: str, message: str) -> None:
    size = 1000 if "1,000" in message else 10_000
    assert message in refusal(f"{inside.url}/{path}", max_file_bytes=size, **LOCAL).message


@pytest.mark.parametrize("path", ["silent", "trickle", "stall"])
def test_nothing_takes_longer_than_allowed(inside: Inside, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    assert SAME in refusal(f"{inside.url}/{path}", timeout=0.3, **LOCAL).message
    monkeypatch.setattr(remote_module, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(remote_module, "FIRST_BYTE_SECONDS", 0.2)
    if path != "trickle":  # a byte now and then passes for progress, until the time for the whole is over
        assert SAME in refusal(f"{inside.url}/{path}", **LOCAL).message
    assert time.monotonic() - start < 1.5


def test_a_name_server_that_is_silent() -> None:
    def slow(host: str, port: int) -> list[str]:
        time.sleep(0.5)
        return ["127.0.0.1"]

    start = time.monotonic()
    with pytest.raises(MediaError, match=SAME):
        asyncio.run(asked(slow, "http://slow.example/", timeout=0.1))
    assert time.monotonic() - start < 1.0


def test_fifteen_dead_servers_do_not_stand_in_the_way_of_one_that_lives(inside: Inside) -> None:
    async def run() -> float:
        fetcher = Fetcher(MediaLimits(timeout=1.0, **LOCAL))  # type: ignore[arg-type]

        async def one(path: str) -> None:
            with suppress(MediaError):
                await fetcher.bring(MediaRef("video", PARAM, url=f"{inside.url}/{path}"))

        dead = [asyncio.ensure_future(one("silent")) for _ in range(15)]
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await one("good")
        took = time.monotonic() - start
        for task in dead:
            task.cancel()
        await asyncio.gather(*dead, return_exceptions=True)
        return took

    assert asyncio.run(run()) < 0.3


def test_a_fetch_that_is_cancelled_ends_at_once(inside: Inside) -> None:
    async def run() -> float:
        fetcher = Fetcher(MediaLimits(**LOCAL))  # type: ignore[arg-type]
        task = asyncio.ensure_future(fetcher.bring(MediaRef("image", PARAM, url=f"{inside.url}/silent")))
        await asyncio.sleep(0.1)
        start = time.monotonic()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return time.monotonic() - start

    assert asyncio.run(run()) < 0.2


# --- the policy ------------------------------------------------------------------------------------------------------


async def asked(resolve: Callable[[str, int], list[str]], url: str, **options: Any) -> bytes:
    """A fetch with every public host allowed and names as `resolve` has them."""
    remote = Remote(
        **{"any_public": True, "hosts": frozenset(), "max_bytes": 10_000, "timeout": 5.0, "resolve": resolve} | options
    )
    try:
        return await remote.fetch(url, PARAM, MediaError("too large", param=PARAM))
    finally:
        remote.close()


def spellings(port: int) -> list[str]:
    hosts = [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0x7f000001", "017700000001", "127.0.0.1."),
        *("localhost", "LOCALHOST", "localhost.", "ip6-localhost", "①②⑦.0.0.1", "127。0。0。1", "0.0.0.0", "0"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]"),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "[::1%25lo]", "user@127.0.0.1", "a:b@127.0.0.1"),
        *("1.1.1.1\\@127.0.0.1", "127.0.0.1\\@1.1.1.1", "1.1.1.1@127.0.0.1", "127.0.0.1%00.example.org"),
        *("127.0.0.1\t", " 127.0.0.1", "127.0.0.1\r\nHost: x", "1.1.1.1 &@127.0.0.1# @1.1.1.1", "%31%32%37.0.0.1"),
    ]
    urls = [f"{scheme}://{host}:{port}/x" for scheme in ("http", "HTTP", "https") for host in hosts]
    return [*urls, f"http:127.0.0.1:{port}/", f"http:/127.0.0.1:{port}/", f"http:\\\\127.0.0.1:{port}/"]


def test_no_spelling_of_this_machine_is_reached(untouched: Inside) -> None:
    async def run() -> None:
        fetcher = Fetcher(MediaLimits(allow_remote=True))
        for url in spellings(untouched.port):
            with pytest.raises(MediaError, match=SAME):
                await fetcher.bring(MediaRef("image", PARAM, url=url))

    asyncio.run(run())


def test_every_address_of_a_name_must_be_public(untouched: Inside) -> None:
    for ips in (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["8.8.8.8", "::1"], []):
        with pytest.raises(MediaError, match=SAME):
            asyncio.run(asked(lambda host, port, ips=ips: ips, f"http://good.example:{untouched.port}/"))


@contextmanager
def connected_to(monkeypatch: pytest.MonkeyPatch, server: Inside) -> Iterator[list[tuple[str, str | None]]]:
    """Every connection goes to `server`, so that nothing leaves this machine; what was wanted, and the TLS name."""
    wanted: list[tuple[str, str | None]] = []
    plain = asyncio.open_connection

    async def turned(ip: str, port: int, *, ssl: Any, server_hostname: str | None, limit: int) -> Any:
        wanted.append((ip, server_hostname))
        return await plain("127.0.0.1", server.port)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "open_connection", turned)
        yield wanted


def test_it_connects_to_what_was_checked(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is asked for and private the next time is asked for once."""
    answers = [["8.8.8.8"], ["127.0.0.1"]]
    with connected_to(monkeypatch, inside) as wanted:
        assert asyncio.run(asked(lambda host, port: answers.pop(0), "https://twice.example/good")) == DATA
    assert wanted == [("8.8.8.8", "twice.example")]
    assert len(answers) == 1


def test_every_hop_is_checked_again(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"a.example": ["8.8.8.8"], "127.0.0.1": ["127.0.0.1"], "169.254.169.254": ["169.254.169.254"]}
    with connected_to(monkeypatch, inside) as wanted:
        with pytest.raises(MediaError, match=SAME):
            asyncio.run(asked(lambda host, port: names[host], "http://a.example/elsewhere"))
        assert wanted == [("8.8.8.8", None)]
        with pytest.raises(MediaError, match=SAME):  # and from TLS only to TLS
            asyncio.run(asked(lambda host, port: names["a.example"], "https://a.example/elsewhere"))
        assert len(wanted) == 2


def generated(rng: random.Random, port: int) -> str:
    """A URL made to be read in two ways."""
    private = ["127.0.0.1", "localhost", "[::1]", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "0", "in.test"]
    public = ["example.org", "8.8.8.8", "[2606:4700::1111]", "out.test"]
    between = [
        "",
        "",
        "",
        "@",
        "\\",
        "\\@",
        "#",
        "#@",
        "?",
        "?@",
        "/",
        "//",
        "%00",
        "%2f",
        "%40",
        ":",
        ":80@",
        ";",
        "\t",
    ]
    between += ["\r\n", " ", "\0", "。", "．", "\u200b", "&", ",", "[", "]", "..", "％２Ｆ"]  # noqa: RUF001
    pieces = [rng.choice(private + public)]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        pieces += [rng.choice(between), rng.choice(private + public)]
    scheme = rng.choice(
        ["http://", "https://", "HTTP://", "http:/", "http:\\\\", "http:", "http:///", "http://@", " http://"]
    )
    return scheme + "".join(pieces) + rng.choice(["", f":{port}", f":{port}/", "/x", f":{port}\\", f":{port}@out.test"])


def test_generated_urls_reach_nothing_private(
    untouched: Inside, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """What is checked is what is connected to, for every URL; `--urls 100000` for the long form."""
    rng = random.Random(12)
    names = {
        "example.org": "93.184.216.34",
        "8.8.8.8": "8.8.8.8",
        "2606:4700::1111": "2606:4700::1111",
        "out.test": "1.1.1.1",
    }
    wanted: list[tuple[str, str | None]] = []

    async def refused(ip: str, port: int, **options: Any) -> Any:
        wanted.append((ip, options["server_hostname"]))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refused)
    monkeypatch.setattr(remote_module, "_resolve", lambda host, port: [names.get(host, "127.0.0.1")])

    async def run(count: int) -> None:
        fetcher = Fetcher(MediaLimits(allow_remote=True))
        fetcher.remote._resolve = remote_module._resolve
        for _ in range(count):
            url = generated(rng, untouched.port)
            with suppress(MediaError):  # what http: does not begin is taken for a file
                fetcher.fetch(await fetcher.bring(MediaRef("image", PARAM, url=url)))

    asyncio.run(run(request.config.getoption("--urls")))
    assert len(wanted) > 100, "some of them are good"
    assert all(is_public(ip) and name in (None, *names) for ip, name in wanted)
