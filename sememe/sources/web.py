"""Addresses → pages: fetched over HTTP with respect for robots.txt, a delay between two, and limits on everything.

Addresses that lead into a private network are refused, before connecting and after each redirect, and the connection
goes to the address that was looked at, so that a name cannot mean another one by then. No proxy is used. A page
becomes a `Source` that the reader of its content type reads. Knows HTTP; knows nothing of formats or stores.
"""

from __future__ import annotations

import codecs
import email.message
import hashlib
import http.client
import io
import ipaddress
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit
from xml.etree import ElementTree

from sememe.errors import InputError, ReadError
from sememe.sources.files import read_source
from sememe.sources.formats import BY_MEDIA_TYPE, TEXT, of_suffix
from sememe.sources.robots import LARGEST as LARGEST_ROBOTS
from sememe.sources.robots import Robots, robots_of
from sememe.sources.source import Read, ReadOptions, Refused, Source

AGENT = "sememe"
LARGEST_PAGE = 32 * 1024 * 1024
LARGEST_SITEMAP = 50 * 1024 * 1024
"""Bytes, as the protocol says, after decompression."""
DELAY = 1.0
MOST_PAGES = 1000
MOST_REDIRECTS = 5
MOST_SITEMAPS = 100
LONGEST_ADDRESS = 2000
LONGEST_DELAY = 30.0
PIECE = 64 * 1024

_OFFERED = "text/html,application/xhtml+xml,text/*;q=0.9,application/pdf;q=0.9,*/*;q=0.5"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_VAGUE = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream", "application/x-download"})
_TEXTUAL = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml|jsonl|x-ndjson)")


@dataclass(frozen=True, slots=True)
class WebOptions:
    """How pages are fetched: seconds between two of a host, seconds for one, bytes of one, and how many."""

    delay: float = DELAY
    timeout: float = 30.0
    largest: int = LARGEST_PAGE
    max_pages: int = MOST_PAGES
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was fetched. `etag` and `modified` are what its server wants to be asked with the next time."""

    address: str
    content: bytes
    name: str
    etag: str = ""
    modified: str = ""

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what the page's documents are made from."""
        return hashlib.sha256(b"\0".join((self.name.encode(), self.content))).digest()

    def read(self, key: str, options: ReadOptions) -> Read:
        """The page by the reader of its type, with the address in the metadata."""
        source = Source(self.name, len(self.content), lambda: io.BytesIO(self.content))
        found = read_source(source, key, options)
        if not isinstance(found, Refused):
            seen = {"url": self.address, "etag": self.etag, "last-modified": self.modified}
            found.metadata = {**found.metadata, **{name: value for name, value in seen.items() if value}}
        return found


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The server says that the page is what it was."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server sent: the status, headers with names in lower case, the body without its encoding."""

    address: str
    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def is_address(text: str) -> bool:
    """Whether this is meant as an address on the web."""
    return re.match(r"https?:/", text, re.IGNORECASE) is not None


def checked_address(text: str) -> str:
    """An address in one way of writing it, without fragment. Raises InputError for one that cannot be fetched."""
    try:
        return _normal(text)
    except ReadError as failed:
        raise InputError(
            f"{text!r} is not an address to fetch: {failed}; write it like https://example.org/page"
        ) from failed


@dataclass(slots=True)
class Fetcher:
    """Fetches pages one after another; remembers each host's rules and when it was last asked."""

    options: WebOptions = field(default_factory=WebOptions)
    _robots: dict[str, Robots] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    def fetch(self, address: str, *, etag: str = "", modified: str = "") -> Page | Unchanged | Refused:
        """The page at an address; `Unchanged` if its server says so of the version that `etag` or `modified` name."""
        asked = {"If-None-Match": etag, "If-Modified-Since": modified}
        try:
            answer = self._answer(
                address, {name: value for name, value in asked.items() if value}, self.options.largest
            )
        except ReadError as failed:
            return _refused(address, failed)
        if answer.status == 304:
            return Unchanged()
        kind, charset = _type_of(answer.headers.get("content-type", ""))
        return Page(
            address=answer.address,
            content=_transcoded(answer.body, kind, charset),
            name=_name_of(answer.address, kind),
            etag=answer.headers.get("etag", "")[:1000],
            modified=answer.headers.get("last-modified", "")[:100],
        )

    def sitemap(self, address: str) -> Iterator[str | tuple[str, Refused]]:
        """The addresses that a sitemap lists, directly or through others, at most `max_pages`.

        What cannot be read, or is left out, comes as its address and the reason.
        """
        waiting, seen, count = [address], {address}, 0
        host = urlsplit(address).netloc
        pages: set[str] = set()
        while waiting and count < MOST_SITEMAPS:
            current = waiting.pop(0)
            count += 1
            try:
                answer = self._answer(current, {}, LARGEST_SITEMAP)
                found = list(_listed(answer))
            except ReadError as failed:
                yield current, _refused(current, failed)
                continue
            for listed, is_sitemap in found:
                new = listed not in (seen if is_sitemap else pages)
                if not new:
                    continue
                if urlsplit(listed).netloc != host:
                    yield listed, Refused(Path(listed), f"it is not on the host of the sitemap, {host}")
                elif is_sitemap:
                    seen.add(listed)
                    waiting.append(listed)
                elif len(pages) >= self.options.max_pages:
                    reason = f"more than {self.options.max_pages} pages are listed; the rest is left out (--max-pages)"
                    yield current, Refused(Path(current), reason)
                    return
                else:
                    pages.add(listed)
                    yield listed
        if waiting:
            yield address, Refused(Path(address), f"more than {MOST_SITEMAPS} sitemaps; the rest is left out")

    def _answer(self, address: str, headers: Mapping[str, str], largest: int) -> _Answer:
        """What the address, or where it leads, answers with success or 304."""
        for _ in range(MOST_REDIRECTS + 1):
            address = _normal(address)
            parts = urlsplit(address)
            robots = self._rules(parts)
            if not robots.allows(_path(parts)):
                raise ReadError("robots.txt of its host does not allow it")
            self._wait(parts.netloc, robots.delay)
            answer = self._request(parts, headers, largest)
            if answer.status in _REDIRECTS and "location" in answer.headers:
                address = urljoin(address, answer.headers["location"])
                continue
            if answer.status == 304 or 200 <= answer.status < 300:
                return answer
            raise ReadError(f"{answer.status} {answer.reason}".strip(), retryable=answer.status in _AGAIN)
        raise ReadError(f"more than {MOST_REDIRECTS} redirects")

    def _rules(self, parts: SplitResult) -> Robots:
        """The rules of a host. Without a file everything is allowed; while it cannot be had, nothing is."""
        host = f"{parts.scheme}://{parts.netloc}"
        if host not in self._robots:
            self._robots[host] = self._fetch_rules(f"{host}/robots.txt")
        return self._robots[host]

    def _fetch_rules(self, address: str) -> Robots:
        for _ in range(MOST_REDIRECTS + 1):
            parts = urlsplit(_normal(address))
            answer = self._request(parts, {}, LARGEST_ROBOTS, cut=True)
            if answer.status in _REDIRECTS and "location" in answer.headers:
                address = urljoin(address, answer.headers["location"])
            elif 200 <= answer.status < 300:
                return robots_of(answer.body.decode("utf-8", "replace"), AGENT)
            elif answer.status >= 500 or answer.status == 429:
                raise ReadError(f"its robots.txt cannot be read: {answer.status} {answer.reason}", retryable=True)
            else:
                return Robots()
        return Robots()

    def _wait(self, host: str, asked: float) -> None:
        """Wait until the host may be asked again."""
        delay = min(max(self.options.delay, asked), LONGEST_DELAY)
        rest = self._asked.get(host, -LONGEST_DELAY) + delay - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        self._asked[host] = time.monotonic()

    def _request(self, parts: SplitResult, headers: Mapping[str, str], largest: int, *, cut: bool = False) -> _Answer:
        """One request and its answer, all of it within the time and size that are allowed."""
        deadline = _Deadline(self.options.timeout)
        offered = {"User-Agent": f"{AGENT}/{version(AGENT)}", "Accept": _OFFERED, "Accept-Encoding": "gzip"}
        try:
            with _connected(parts, self.options) as opened, deadline.over(opened):
                connection = http.client.HTTPConnection(parts.netloc)
                connection.sock = opened
                connection.request("GET", _path(parts), headers={**offered, **headers, "Connection": "close"})
                response = connection.getresponse()
                found = {name.lower(): value for name, value in response.getheaders()}
                body = b""
                if 200 <= response.status < 300:
                    pieces = _decompressed(_pieces(response), found.get("content-encoding", ""), largest)
                    body = _bounded(pieces, largest, cut=cut)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if deadline.passed or isinstance(error, TimeoutError):
                raise self._too_slow() from error
            reason = f"the answer cannot be read: {error or type(error).__name__}"
            raise ReadError(reason, retryable=True) from error
        if deadline.passed:
            raise self._too_slow()
        return _Answer(urlunsplit(parts), response.status, response.reason, found, body)

    def _too_slow(self) -> ReadError:
        return ReadError(f"no whole answer within {self.options.timeout:g} s", retryable=True)


class _Deadline:
    """Ends a connection that takes too long, however slowly its bytes drip."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.passed = False

    @contextmanager
    def over(self, opened: socket.socket) -> Iterator[None]:
        """Shut the connection when the time is up."""
        timer = threading.Timer(self._seconds, self._end, (opened,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self, opened: socket.socket) -> None:
        self.passed = True
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)


# Addresses


def _normal(address: str) -> str:
    """The address without fragment, its host in lower case and ASCII, everything else escaped where it must be."""
    address = address.strip()
    if len(address) > LONGEST_ADDRESS:
        raise ReadError(f"more than {LONGEST_ADDRESS} characters")
    try:
        parts = urlsplit(address)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if not _is_literal(parts.hostname) else parts.hostname
    except ValueError as error:
        raise ReadError(f"not an address ({error})") from error
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise ReadError("only http and https addresses of a host are fetched")
    if parts.username is not None or parts.password is not None:
        raise ReadError("it holds a user's name or password")
    named = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme.lower()]
    place = named if port in (None, default) else f"{named}:{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]")
    return urlunsplit((parts.scheme.lower(), place, path, query, ""))


def _is_literal(host: str | None) -> bool:
    return host is not None and ":" in host


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    inner = None
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else inner
    return found.is_global and not found.is_multicast and (inner is None or inner.is_global)


def _connected(parts: SplitResult, options: WebOptions) -> socket.socket:
    """A connection to one of the addresses that the host's name means, all of which must be allowed."""
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise ReadError(f"its host {host} is not known ({error})", retryable=True) from error
    private = [str(address) for address in found if not _is_public(str(address))]
    if private and not options.allow_private:
        named = "" if host == private[0] else f" ({private[0]})"
        raise ReadError(f"{host}{named} is in a private network; --allow-private fetches it")
    problem: OSError | None = None
    for address in dict.fromkeys(map(str, found)):
        try:
            opened = socket.create_connection((address, port), timeout=options.timeout)
            if parts.scheme == "https":
                opened = ssl.create_default_context().wrap_socket(opened, server_hostname=host)
        except OSError as error:
            problem = error
            continue
        return opened
    raise ReadError(f"{host} cannot be reached: {problem}", retryable=True)


# Bodies


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := response.read1(PIECE):
        yield piece
    if response.length:
        raise OSError(f"it ends {response.length} bytes too early")


def _decompressed(pieces: Iterator[bytes], encoding: str, largest: int) -> Iterator[bytes]:
    """The body as it was before it was packed, in pieces no larger than `largest` and one more byte."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        yield from pieces
        return
    if name not in ("gzip", "x-gzip", "deflate"):
        raise ReadError(f"it comes packed as {name!r}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        for piece in pieces:
            yield unpacker.decompress(piece, largest + 1)
        if not unpacker.eof:
            raise zlib.error("it ends too early")
    except zlib.error as error:
        raise ReadError(f"it cannot be unpacked ({error})", retryable=True) from error


def _bounded(pieces: Iterator[bytes], largest: int, *, cut: bool) -> bytes:
    taken = bytearray()
    for piece in pieces:
        taken += piece
        if len(taken) > largest:
            if cut:
                return bytes(taken[:largest])
            raise ReadError(f"more than {largest} bytes")
    return bytes(taken)


def _type_of(header: str) -> tuple[str, str]:
    """Media type and charset of a Content-Type."""
    message = email.message.Message()
    message["content-type"] = header
    return (message.get_content_type() if header else ""), str(message.get_content_charset("") or "")


def _transcoded(content: bytes, kind: str, charset: str) -> bytes:
    """Text in UTF-8 with its mark if the server names a charset: that goes before whatever the text says itself."""
    try:
        codec = codecs.lookup(charset).name if charset and _TEXTUAL.match(kind) else ""
        if not codec or content.startswith(codecs.BOM_UTF8):
            return content
        return codecs.BOM_UTF8 + content.decode(codec).encode("utf-8", "replace")
    except (LookupError, ValueError):
        return content  # the server is wrong: the bytes tell better


def _name_of(address: str, kind: str) -> str:
    """A file's name for a page: that of its path if it says as much as the content type, else one of the type."""
    name = unquote(urlsplit(address).path.rstrip("/").rpartition("/")[2]) or "page"
    form = BY_MEDIA_TYPE.get(kind)
    named = of_suffix(name)
    if form is None or kind in _VAGUE or named is form or (named is not None and kind in named.media_types.split()):
        return name if named is not None or kind != "text/plain" else f"{name}{TEXT.suffixes.split()[0]}"
    return f"{name}{form.suffixes.split()[0]}"


def _listed(answer: _Answer) -> Iterator[tuple[str, bool]]:
    """The addresses in a sitemap, and whether each is a sitemap itself."""
    content = answer.body
    if content.startswith(b"\x1f\x8b"):
        content = _bounded(_decompressed(iter((content,)), "gzip", LARGEST_SITEMAP), LARGEST_SITEMAP, cut=False)
    if not content.lstrip(codecs.BOM_UTF8 + b" \t\r\n").startswith(b"<"):
        lines = content.decode("utf-8-sig", "replace").splitlines()
        found = [(line.strip(), False) for line in lines if is_address(line.strip())]
        if not found:
            raise ReadError("not a sitemap: neither XML nor a list of addresses")
    else:
        found = list(_in_xml(content))
    for address, is_sitemap in found:
        try:
            yield _normal(address), is_sitemap
        except ReadError:
            continue


def _in_xml(content: bytes) -> Iterator[tuple[str, bool]]:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ReadError("not a sitemap: it declares a document type, as bombs do")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ReadError(f"not a sitemap: {error}") from error
    kind = root.tag.rpartition("}")[2]
    if kind not in ("urlset", "sitemapindex"):
        raise ReadError(f"not a sitemap but <{kind}>")
    for entry in root:
        for child in entry:
            if child.tag.rpartition("}")[2] == "loc" and child.text:
                yield child.text.strip(), kind == "sitemapindex"


def _refused(address: str, error: ReadError) -> Refused:
    """That a page was not had. What was stored of it stays, but for one that its server says is gone for good."""
    status: Literal["failed", "skipped"] = "skipped" if str(error).startswith("410 ") else "failed"
    return Refused(Path(address), str(error), retryable=error.retryable, status=status)
