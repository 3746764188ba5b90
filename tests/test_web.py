"""Fetching pages: a real server on this machine, what it may answer, and where we do not go."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from fakes import FakeEmbedder
from hypothesis import given
from hypothesis import strategies as st
from reading import text_of
from typer.testing import CliRunner

import sememe
from sememe.cli import application
from sememe.collection import add_pages, preview
from sememe.errors import InputError
from sememe.ingest.pages import Pages
from sememe.sources.robots import robots_of
from sememe.sources.source import ReadOptions, Refused
from sememe.sources.web import Fetcher, Page, Unchanged, WebOptions, checked_address
from sememe.types import Document

LOCAL = WebOptions(delay=0, timeout=5, allow_private=True)
PAGE = "<html><head><title>Tap</title></head><body><p>How to fix a leaky tap with a wrench.</p></body></html>"


@dataclass
class Reply:
    """What the server says to a path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0
    promised: int | None = None


@dataclass
class Site:
    """A server, its pages, and every request that came: (path, headers)."""

    address: str
    replies: dict[str, Reply]
    asked: list[tuple[str, dict[str, str]]]

    def put(self, path: str, body: str | bytes = b"", status: int = 200, **headers: str) -> str:
        """A page; returns its address."""
        content = body.encode() if isinstance(body, str) else body
        self.replies[path] = Reply(content, status, {name.replace("_", "-"): value for name, value in headers.items()})
        return self.address + path

    def paths(self) -> list[str]:
        """What was asked for, without robots.txt."""
        return [path for path, _ in self.asked if path != "/robots.txt"]


@pytest.fixture
def site() -> Iterator[Site]:
    replies: dict[str, Reply] = {}
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            reply = replies.get(self.path, Reply(b"not here", 404))
            etag = reply.headers.get("ETag")
            if etag and self.headers.get("If-None-Match") == etag:
                reply = Reply(status=304, headers={"ETag": etag})
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) if reply.promised is None else reply.promised))
            self.end_headers()
            try:
                for at in range(0, len(reply.body), 1) if reply.drip else ():
                    self.wfile.write(reply.body[at : at + 1])
                    time.sleep(reply.drip)
                if not reply.drip:
                    self.wfile.write(reply.body)
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Site(f"http://127.0.0.1:{server.server_port}", replies, asked)
    server.shutdown()
    server.server_close()
    thread.join()


def fetched(address: str, options: WebOptions = LOCAL) -> Page:
    page = Fetcher(options).fetch(address)
    assert isinstance(page, Page), page
    return page


def document(address: str) -> Document:
    found = fetched(address).read(address, ReadOptions())
    assert isinstance(found, Document), found
    return found


def reason(address: str, options: WebOptions = LOCAL) -> str:
    refused = Fetcher(options).fetch(address)
    assert isinstance(refused, Refused), refused
    return refused.reason


# Pages


def test_a_page_is_read_by_the_reader_of_its_content_type(site: Site) -> None:
    found = document(site.put("/tap", "# Tap\n\nFix it.", Content_Type="text/markdown"))
    assert (found.title, found.reader) == ("Tap", "markdown/2")
    assert found.metadata["url"] == f"{site.address}/tap"


def test_what_the_content_type_leaves_open_the_name_tells(site: Site) -> None:
    address = site.put("/tap.md", "# Tap\n\nFix it.", Content_Type="application/octet-stream")
    assert document(address).reader == "markdown/2"


def test_the_charset_of_the_header_goes_before_what_the_bytes_look_like(site: Site) -> None:
    address = site.put("/a.txt", "Žluťoučký kůň".encode("iso-8859-2"), Content_Type="text/plain; charset=iso-8859-2")
    assert text_of(document(address)).removeprefix("\ufeff") == "Žluťoučký kůň"


@pytest.mark.parametrize("charset", ["utf-8", "nonsense", "ascii"])
def test_a_wrong_charset_loses_nothing(site: Site, charset: str) -> None:
    text = "Die Bäume blühen früh im Jahr über den Straßen und Gärten der Stadt. " * 5
    address = site.put("/a.txt", text.encode("cp1252"), Content_Type=f"text/plain; charset={charset}")
    assert text_of(document(address)) == text


def test_a_packed_page_is_unpacked(site: Site) -> None:
    address = site.put("/a.txt", gzip.compress(b"Hello there"), Content_Type="text/plain", Content_Encoding="gzip")
    assert text_of(document(address)) == "Hello there"


def test_the_agent_names_itself_and_its_version(site: Site) -> None:
    fetched(site.put("/a.txt", "x"))
    assert {headers["user-agent"] for _, headers in site.asked} == {f"sememe/{version('sememe')}"}


def test_a_page_that_has_not_changed_is_not_sent_again(site: Site) -> None:
    address = site.put("/a.txt", "Hello", ETag='"v1"')
    page = fetched(address)
    assert Fetcher(LOCAL).fetch(address, etag=page.etag) == Unchanged()


# What goes wrong


def test_a_redirect_is_followed_and_the_page_knows_where_it_was(site: Site) -> None:
    site.put("/new", "Hello", Content_Type="text/plain")
    assert fetched(site.put("/old", status=301, Location="/new")).address == f"{site.address}/new"


def test_redirects_in_a_circle_end(site: Site) -> None:
    site.put("/b", status=302, Location="/a")
    assert reason(site.put("/a", status=302, Location="/b")) == "more than 5 redirects"
    assert len(site.paths()) == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/", "//", "http://"])
def test_a_redirect_to_what_is_no_page_is_not_followed(site: Site, target: str) -> None:
    assert reason(site.put("/a", status=302, Location=target))


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (403, False), (500, True), (503, True), (429, True)])
def test_an_error_of_the_server_is_told_with_its_number(site: Site, status: int, retryable: bool) -> None:
    refused = Fetcher(LOCAL).fetch(site.put("/a", "no", status))
    assert isinstance(refused, Refused)
    assert (refused.reason.split()[0], refused.retryable, refused.status) == (str(status), retryable, "failed")


def test_a_page_that_drips_is_given_up_in_time(site: Site) -> None:
    address = site.put("/a.txt", b"x" * 1000)
    site.replies["/a.txt"].drip = 0.05
    begin = time.monotonic()
    assert reason(address, WebOptions(delay=0, timeout=0.5, allow_private=True)) == "no whole answer within 0.5 s"
    assert time.monotonic() - begin < 5


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert "within 0.3 s" in reason(address, WebOptions(delay=0, timeout=0.3, allow_private=True))


def test_a_page_that_ends_too_early_is_not_taken(site: Site) -> None:
    address = site.put("/a.txt", b"x" * 100)
    site.replies["/a.txt"].promised = 200
    assert "too early" in reason(address)


def test_a_page_that_is_too_large_is_not_taken(site: Site) -> None:
    address = site.put("/a.txt", b"x" * 2000)
    assert reason(address, WebOptions(delay=0, largest=1000, allow_private=True)) == "more than 1000 bytes"


def test_a_bomb_is_not_unpacked(site: Site) -> None:
    bomb = gzip.compress(b"\0" * 200_000_000, 9)
    address = site.put("/a.txt", bomb, Content_Encoding="gzip")
    begin = time.monotonic()
    assert reason(address, WebOptions(delay=0, largest=1_000_000, allow_private=True)) == "more than 1000000 bytes"
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("body", [b"not packed", gzip.compress(b"x" * 5000)[:-20]])
def test_what_cannot_be_unpacked_is_not_taken(site: Site, body: bytes) -> None:
    assert "unpacked" in reason(site.put("/a.txt", body, Content_Encoding="gzip"))


def test_a_host_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "127.0.0.1 cannot be reached" in reason(f"http://127.0.0.1:{port}/")


# Where we do not go


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "2130706433",
        "[::ffff:127.0.0.1]", "[fe80::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
def test_private_networks_are_not_fetched_from(host: str) -> None:
    refused = Fetcher(WebOptions(delay=0, timeout=2)).fetch(checked_address(f"http://{host}/"))
    assert isinstance(refused, Refused)
    assert "private network; --allow-private" in refused.reason or "not known" in refused.reason


def test_no_connection_is_made_to_a_private_network(site: Site) -> None:
    reason(f"{site.address}/a", WebOptions(delay=0))
    assert site.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.org/",
        "http:///x",
        "http://a:b@example.org/",
        "http://[::1",
        "http://example.org:99999/",
        "https:/",
    ],
)
def test_what_is_no_address_is_said_to_be(address: str) -> None:
    with pytest.raises(InputError, match="is not an address to fetch"):
        checked_address(address)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("https://example.org:443/a b?q=ä#part", "https://example.org/a%20b?q=%C3%A4"),
        ("http://bücher.example/%7Ex", "http://xn--bcher-kva.example/%7Ex"),
    ],
)
def test_an_address_has_one_way_to_be_written(given: str, stored: str) -> None:
    assert checked_address(given) == stored
    assert checked_address(stored) == stored


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = checked_address(f"http://{text}")
    except InputError:
        return
    assert checked_address(address) == address
    assert address.isascii()


# robots.txt


def test_what_robots_txt_forbids_is_not_fetched(site: Site) -> None:
    site.put("/robots.txt", "User-agent: *\nDisallow: /private/\n")
    assert "robots.txt" in reason(site.put("/private/a", "secret"))
    assert site.paths() == []


def test_nothing_is_fetched_while_robots_txt_cannot_be_read(site: Site) -> None:
    site.put("/robots.txt", "", 503)
    assert "its robots.txt cannot be read: 503" in reason(site.put("/a", "x"))


def test_a_redirect_to_what_robots_txt_forbids_is_not_followed(site: Site) -> None:
    site.put("/robots.txt", "User-agent: *\nDisallow: /private")
    site.put("/private", "secret")
    assert "robots.txt" in reason(site.put("/a", status=302, Location="/private"))


def test_a_host_is_asked_after_the_delay_that_it_wants(site: Site) -> None:
    site.put("/robots.txt", "User-agent: sememe\nCrawl-delay: 0.4\n")
    fetcher = Fetcher(LOCAL)
    begin = time.monotonic()
    for name in "abc":
        fetcher.fetch(site.put(f"/{name}", "x"))
    assert time.monotonic() - begin >= 0.8
    assert len([path for path, _ in site.asked if path == "/robots.txt"]) == 1


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: *\nDisallow: /\nAllow: /a", "/a/b", True),
        ("User-agent: *\nAllow: /a\nDisallow: /a/b", "/a/b", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf?z", True),
        ("User-agent: *\nDisallow: /a*c*e", "/abcde", False),
        ("User-agent: *\nDisallow: /a%3cd", "/a%3Cd", False),
        ("User-agent: other\nDisallow: /\n\nUser-agent: *\nDisallow: /b", "/a", True),
        ("User-agent: other\nUser-agent: Sememe/2\nDisallow: /\n\nUser-agent: *\nAllow: /", "/a", False),
        ("User-agent: sememe\nAllow: /\n\nUser-agent: *\nDisallow: /", "/a", True),
        ("# nothing\n\nDisallow: /", "/a", True),
        ("", "/a", True),
    ],
)
def test_robots_txt_is_read_by_its_standard(rules: str, path: str, allowed: bool) -> None:
    assert robots_of(rules, "sememe").allows(path) is allowed


@given(st.text(), st.text())
def test_any_robots_txt_is_understood(rules: str, path: str) -> None:
    assert robots_of(f"User-agent: *\nDisallow: {rules}", "sememe").allows(path) in (True, False)


# Sitemaps


def listing(site: Site, *paths: str, kind: str = "urlset") -> str:
    entry = {"urlset": "url", "sitemapindex": "sitemap"}[kind]
    inner = "".join(f"<{entry}><loc>{site.address}{path}</loc></{entry}>" for path in paths)
    return f'<?xml version="1.0"?><{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inner}</{kind}>'


def test_a_sitemap_lists_its_pages_also_through_others(site: Site) -> None:
    site.put("/one.xml", listing(site, "/a", "/b"))
    site.put("/two.xml.gz", gzip.compress(listing(site, "/b", "/c").encode()))
    index = site.put("/map.xml", listing(site, "/one.xml", "/two.xml.gz", "/map.xml", kind="sitemapindex"))
    assert list(Fetcher(LOCAL).sitemap(index)) == [f"{site.address}/{name}" for name in "abc"]


def test_a_sitemap_may_be_a_list_of_lines(site: Site) -> None:
    address = site.put("/map.txt", f"{site.address}/a\n{site.address}/b\n")
    assert list(Fetcher(LOCAL).sitemap(address)) == [f"{site.address}/a", f"{site.address}/b"]


def test_more_pages_than_wanted_are_left_out_with_the_reason(site: Site) -> None:
    address = site.put("/map.xml", listing(site, *(f"/{number}" for number in range(9))))
    found = list(Fetcher(WebOptions(delay=0, max_pages=3, allow_private=True)).sitemap(address))
    assert len(found) == 4
    assert isinstance(found[3], tuple)
    assert "more than 3 pages" in found[3][1].reason


def test_pages_of_another_host_are_left_out(site: Site) -> None:
    found = list(Fetcher(LOCAL).sitemap(site.put("/map.txt", "http://example.org/a\n")))
    assert [one[0] for one in found if isinstance(one, tuple)] == ["http://example.org/a"]


@pytest.mark.parametrize(
    "body",
    [
        "<!DOCTYPE x [<!ENTITY a 'b'>]><urlset>&a;</urlset>", "<urlset>", "<html></html>", "nothing", "",
        gzip.compress(b"<urlset>")[:-3],
    ],
)  # fmt: skip
def test_what_is_no_sitemap_is_said_to_be(site: Site, body: str | bytes) -> None:
    [found] = Fetcher(LOCAL).sitemap(site.put("/map.xml", body))
    assert isinstance(found, tuple)
    assert found[1].reason


# Into a collection


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[sememe.Collection]:
    with sememe.open(tmp_path / "here", model=FakeEmbedder()) as opened:
        yield opened


def test_pages_are_added_by_address_and_not_sent_again(site: Site, collection: sememe.Collection) -> None:
    tap = site.put("/tap", PAGE, Content_Type="text/html", ETag='"1"')
    bread = site.put("/bread.txt", "How to bake bread.", Content_Type="text/plain", ETag='"2"')
    pages = Pages([tap, bread, f"{site.address}/gone"], options=LOCAL)
    assert (add_pages(collection, pages).documents, collection.get(tap).document.metadata["etag"]) == (2, '"1"')
    again = add_pages(collection, pages)
    assert (again.documents, again.unchanged, again.failed) == (0, 2, 1)
    assert {row.key: row.reason for row in collection.report().troubles} == {f"{site.address}/gone": "404 Not Found"}


def test_a_page_that_changed_is_replaced(site: Site, collection: sememe.Collection) -> None:
    address = site.put("/a.txt", "How to bake bread.", ETag='"1"')
    add_pages(collection, Pages([address], options=LOCAL))
    site.put("/a.txt", "How to brew tea.", ETag='"2"')
    assert add_pages(collection, Pages([address], options=LOCAL)).documents == 1
    assert collection.get(address).text == "How to brew tea."


@pytest.mark.parametrize(("status", "kept"), [(404, True), (500, True), (410, False)])
def test_a_stored_page_goes_only_when_it_is_gone_for_good(
    site: Site, collection: sememe.Collection, status: int, kept: bool
) -> None:
    address = site.put("/a.txt", "How to bake bread.")
    add_pages(collection, Pages([address], options=LOCAL))
    site.put("/a.txt", "", status)
    add_pages(collection, Pages([address], options=LOCAL))
    assert (collection.report().totals.documents == 1) is kept


def test_a_page_of_rows_becomes_documents(site: Site, collection: sememe.Collection) -> None:
    row = "the kettle whistles softly while the rain falls outside"
    address = site.put("/rows.csv", f"id,text\n7,{row}\n9,{row} again\n", Content_Type="text/csv")
    assert add_pages(collection, Pages([address], options=LOCAL)).documents == 2
    assert collection.get(f"{address}!/9").text == f"{row} again"
    assert add_pages(collection, Pages([address], options=LOCAL)).documents == 0


def test_a_preview_of_pages_writes_nothing(site: Site, tmp_path: Path) -> None:
    address = site.put("/map.txt", site.put("/a.txt", "How to bake bread."))
    found = preview(Pages([address], sitemap=True, options=LOCAL), path=tmp_path / "none", model=FakeEmbedder())
    assert (found.documents, found.chunks) == (1, 1)
    assert not (tmp_path / "none").exists()


def test_more_addresses_than_pages_are_refused_before_anything_is_fetched(site: Site) -> None:
    with pytest.raises(InputError, match="3 addresses are given and at most 2"):
        Pages([f"{site.address}/{name}" for name in "abc"], options=WebOptions(max_pages=2)).checked()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with an embedder by hashing."""
    command = [sys.executable, str(Path(__file__).with_name("run_cli.py")), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_an_address_and_a_path_are_not_added_at_once(tmp_path: Path, site: Site) -> None:
    done = run(tmp_path, "add", f"{site.address}/a", "notes.txt")
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "add them one after the other" in done.stderr


def test_the_command_line_adds_the_pages_of_a_sitemap(tmp_path: Path, site: Site) -> None:
    address = site.put("/map.txt", site.put("/tap", PAGE, Content_Type="text/html"))
    options = ["--sitemap", "--allow-private", "--delay", "0", "--max-pages", "5", "--json"]
    done = run(tmp_path, "add", address, *options)
    assert (done.returncode, json.loads(done.stdout)["documents"]) == (0, 1), done.stderr


def test_what_a_call_says_of_pages_is_their_metadata_and_stays(site: Site, collection: sememe.Collection) -> None:
    address = site.put("/a.txt", "How to bake bread.", ETag='"1"')
    pages = Pages([address], options=LOCAL)
    add_pages(collection, pages, metadata={"team": "kitchen"})
    assert collection.get(address).document.metadata["team"] == "kitchen"
    summary = add_pages(collection, pages, metadata=lambda place: {"address": place})
    assert (summary.documents, summary.unchanged, summary.described) == (0, 1, 1)
    metadata = collection.get(address).document.metadata
    assert (metadata["team"], metadata["address"], metadata["etag"]) == ("kitchen", address, '"1"')
    site.put("/a.txt", "How to brew tea.", ETag='"2"')
    add_pages(collection, pages)
    assert collection.get(address).document.metadata["team"] == "kitchen"


def test_meta_on_the_command_line_reaches_pages(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = site.put("/a.txt", "How to bake bread.")
    monkeypatch.setattr("sememe.collection.load_model", lambda *_, **__: FakeEmbedder())
    sememe.open(tmp_path / "c").close()
    arguments = ["add", address, "--meta", "year=2024", "--allow-private", "--collection", str(tmp_path / "c")]
    assert CliRunner().invoke(application(), arguments).exit_code == 0
    with sememe.open(tmp_path / "c", model=FakeEmbedder()) as opened:
        assert opened.get(address).document.metadata["year"] == 2024
