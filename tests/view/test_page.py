"""The local page, in a real browser: found, opened, followed, compared, replayed, and hostile content."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry import trace

from scripts import fetch_axe
from tests.cli.test_cli import recorder
from tests.cli.test_cli_find import QUESTIONS, record_what_is_asked
from tests.conftest import ROOT
from tests.support.browser import Browser
from tests.support.parts import need
from tests.support.viewing import SECONDS, Viewing
from wakelog.journal import books
from wakelog.page._prometheus import QUERIES

TRIP, KILLED = "trip-lisbon-0413", "trip-lisbon-0412"
TRACE_URL = "http://localhost:16686/trace/{trace_id}"
HOSTILE = (
    "</script><img src=x onerror='window.hurt=1'><script>window.hurt=1</script>"
    "<a href='javascript:window.hurt=1'>x</a>\u202e]]>{{7*7}}"
)
REFUSED_ON_PURPOSE = "400 (Bad Request)"
# Of each question of the command line's page: what the answer shows, and what it does not.
SEEN = {
    "which tool calls failed yesterday": ("lookup", "older newer pay"),
    "what did a session cost": ("s-1", "s-2"),
    "is anything undelivered": ("18 kept here", "lookup"),
    "which run used the most tokens": ("run-1", "nothing"),
    "what was the whole prompt of a call": ("gpt-4o", "TimeoutError"),
    "what failed in the last hour, and fails from now on": ("pay", "lookup older"),
    "which tools are slow": ("pay", "nothing"),
    "which events contain a text": ("gpt-4o", "lookup pay"),
}
CARDS = "[...document.querySelectorAll('.card')]"
ROWS = "[...document.querySelectorAll('table.list tbody tr')]"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("story") / "travel"
    subprocess.run(
        [sys.executable, "-m", "scripts.page_story", root], cwd=ROOT, check=True, timeout=SECONDS
    )
    return root


@pytest.fixture(scope="module")
def viewing(story: Path) -> Iterator[Viewing]:
    with Viewing(story, "--trace-url", TRACE_URL, "--link", "Jaeger=http://localhost:16686") as one:
        yield one


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewing]:
    root = tmp_path_factory.mktemp("asked")
    record_what_is_asked(root)
    with Viewing(root) as one:
        yield one


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile") / "p"


@pytest.fixture(scope="module")
def window(profile: Path) -> Iterator[Browser]:
    profile.mkdir()
    with Browser(profile) as browser:
        browser.watch()
        browser.resize(1360, 850)
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The window, in which a test may cause no complaint and no request off the loopback."""
    window.open("about:blank")  # what the page of the test before asks for is not this one's
    window.wait_for("location.href === 'about:blank'")
    window.events.clear()
    yield window
    complaints = [one for one in window.complaints() if REFUSED_ON_PURPOSE not in one]
    asked = {url for url in window.requests() if not url.startswith(("data:", "file:", "about:"))}
    assert complaints == []
    assert {re.sub(r"^(http://127\.0\.0\.1):\d+/.*", r"\1", url) for url in asked} <= {
        "http://127.0.0.1"
    }


def go(browser: Browser, viewing: Viewing, place: str, ready: str) -> None:
    """Open a view, also where it is the one that is shown."""
    browser.open("about:blank")
    browser.open(viewing.address)
    browser.wait_for("!!document.querySelector('nav') && location.hash === ''")
    browser.evaluate(f"location.hash = {json.dumps(place)}")
    browser.wait_for(ready)


def test_a_session_is_found_by_what_was_said_and_opened(browser: Browser, viewing: Viewing) -> None:
    go(browser, viewing, "#/sessions", f"{ROWS}.length === 8")
    browser.evaluate("document.getElementById('search').focus()")
    for letter in "surfboard":
        browser.press(letter)
    browser.wait_for(f"{ROWS}.length === 1")
    assert browser.evaluate(f"{ROWS}[0].querySelector('th a').textContent") == "chat-8841"
    assert "q=surfboard" in browser.evaluate("location.hash")

    browser.evaluate(f"{ROWS}[0].querySelector('th a').click()")

    browser.wait_for(f"{CARDS}.some((card) => card.textContent.includes('Yes: 50 euros each way'))")
    assert browser.evaluate("document.querySelector('h1').textContent") == "chat-8841"
    types = browser.evaluate(f"{CARDS}.map((card) => card.dataset.type)")
    assert types == ["run_start", "user_message", "tool_call", "model_call", "assistant_message"]


def test_a_session_shows_arguments_results_errors_approvals_images_and_reasoning_folded(
    browser: Browser, viewing: Viewing
) -> None:
    go(browser, viewing, f"#/session/{TRIP}", "document.documentElement.dataset.filled > 30")

    text = browser.evaluate("document.querySelector('.feed').textContent")
    for said in (
        "the airline's server did not answer within 3 s",
        '"flight": "TP 571"',
        "Book TP 571 and Casa do Tejo for 815.40 euros?",
        "travel-desk → booking-clerk",
        "1,840 → 212 tok",
        "$0.0087",
    ):
        assert said in text, said
    assert browser.evaluate("document.querySelector('.reasoning').open") is False
    browser.evaluate("document.querySelector('.picture').scrollIntoView()")
    browser.wait_for("document.querySelector('.picture').naturalWidth === 360")
    lanes = browser.evaluate("document.querySelector('.lanes').getAttribute('aria-label')")
    assert lanes.startswith("Timeline: 4 lanes")
    browser.evaluate("document.querySelector('[data-type=model_call] .card-head').click()")
    browser.wait_for("document.querySelector('.card.open')?.textContent.includes('Reasoning')")


def test_a_journal_of_a_killed_program_shows_its_open_steps_as_unknown(
    browser: Browser, viewing: Viewing
) -> None:
    go(browser, viewing, f"#/session/{KILLED}", f"{CARDS}.length > 10")

    unknown = browser.evaluate(
        f"{CARDS}.filter((card) => card.dataset.status === 'unknown')"
        ".map((card) => card.querySelector('.title').textContent)"
    )
    assert unknown == ["travel-desk", "booking-clerk", "pay"]
    assert "3 outcomes unknown" in browser.evaluate(
        "document.querySelector('.session-state').textContent"
    )


def test_filters_narrow_down_what_is_listed_and_shown(browser: Browser, viewing: Viewing) -> None:
    go(browser, viewing, "#/sessions", f"{ROWS}.length === 8")
    browser.evaluate("document.querySelector('.search .toggle').click()")
    browser.wait_for(f"{ROWS}.length === 2")
    assert browser.evaluate("document.getElementById('search').value") == "failed"

    go(browser, viewing, "#/events?q=failed type:tool_call", f"{CARDS}.length === 2")
    assert "hold_seats" in browser.evaluate(f"{CARDS}[0].textContent")

    go(browser, viewing, f"#/session/{TRIP}", f"{CARDS}.length > 10")
    browser.evaluate("document.querySelector('[data-only=failed]').click()")
    browser.wait_for(f"{CARDS}.length === 1")

    go(browser, viewing, "#/events?q=since:noon", "!!document.querySelector('#search-problem')")
    browser.wait_for("document.querySelector('#search-problem').textContent.includes('noon')")


def test_two_sessions_are_compared(browser: Browser, viewing: Viewing) -> None:
    go(browser, viewing, "#/sessions", f"{ROWS}.length === 8")
    for name in (KILLED, TRIP):
        browser.evaluate(f"document.querySelector('[data-id={name}] input').click()")
    browser.evaluate("document.querySelector('.list-head .primary').click()")

    browser.wait_for("Number(document.documentElement.dataset.differ) > 0")
    kinds = browser.evaluate(
        "[...document.querySelectorAll('.compare-steps tbody tr')].map((row) => row.className)"
    )
    assert kinds.count("added") >= 2  # the checkpoint and what came after paying
    assert kinds.count("") > 8
    sums = browser.evaluate("document.querySelector('.compare-sums').textContent")
    assert "Outcome unknown30" in sums


def test_what_is_recorded_comes_to_the_page_while_the_program_runs(
    browser: Browser, tmp_path: Path
) -> None:
    root = tmp_path / "journal"
    with recorder(root) as log, log.run("wait for it", session_id="live-1", run_id="r-1"):
        log.user_message("first")
        with Viewing(root) as viewing:
            go(browser, viewing, "#/session/live-1", f"{CARDS}.length === 2")
            assert browser.evaluate(f"{CARDS}[0].dataset.status") == "running"
            with log.tool("slow", {"number": 17}) as call:
                browser.wait_for(f"{CARDS}[2]?.dataset.status === 'running'")
                call.result("came late")
            browser.wait_for(f"{CARDS}[2].textContent.includes('came late')")
            assert browser.evaluate(f"{CARDS}[2].dataset.status") == "success"
            go(browser, viewing, "#/sessions", f"{ROWS}.length === 1")
            log.user_message("another", session_id="live-2")
            browser.wait_for(f"{ROWS}.length === 2")
            go(
                browser,
                viewing,
                "#/events?q=needle",
                "document.documentElement.dataset.count === '0'",
            )
            log.user_message("a NEEDLE in a haystack")
            browser.wait_for(f"{CARDS}.length === 1")
            browser.open("about:blank")


@pytest.mark.parametrize("question", [question for question, _ in QUESTIONS])
def test_each_question_of_the_command_line_is_one_address_here(
    browser: Browser, asking: Viewing, question: str
) -> None:
    [place] = re.findall(
        rf"^\| {question} \| `(#[^`]+)` \|$", (ROOT / "docs" / "view.md").read_text(), re.MULTILINE
    )
    right, wrong = SEEN[question]

    go(browser, asking, place, "document.documentElement.dataset.count !== '0'")

    browser.wait_for(f"document.querySelector('main').innerText.includes({json.dumps(right)})")
    if question == "what was the whole prompt of a call":
        browser.evaluate(
            "document.querySelector('.card.open') || document.querySelector('.card-head').click()"
        )
        browser.wait_for(
            "document.querySelector('.card.open')?.innerText.match(/word /g)?.length > 190"
        )
    shown = browser.evaluate("document.querySelector('main').innerText")
    assert [word for word in wrong.split() if word in shown] == []


def test_a_run_that_another_process_has_ended_is_not_unknown_and_leads_to_its_trace(
    browser: Browser, tmp_path: Path
) -> None:
    root = tmp_path / "journal-\udcff"  # a name that is no UTF-8
    killed = os.fork()
    if not killed:
        with recorder(root) as log, log.run("half", run_id="r-1", session_id="s-1"):
            os.kill(os.getpid(), 9)
    os.waitpid(killed, 0)
    context = trace.SpanContext(0xABC << 100, 0xDEF, is_remote=False)
    span = trace.use_span(trace.NonRecordingSpan(context))
    with recorder(root) as log, span, log.run("the rest", run_id="r-1", session_id="s-1"):
        log.decision("go on")

    with Viewing(root, "--trace-url", TRACE_URL) as viewing:
        [session] = viewing.get("/api/sessions")["rows"]
        assert session["outcome"] is None
        go(browser, viewing, "#/session/s-1", f"{CARDS}.length === 2")
        assert browser.evaluate(f"{CARDS}[0].dataset.status") == "success"
        browser.evaluate(f"{CARDS}[1].querySelector('.card-head').click()")
        link = browser.wait_for("document.querySelector('.facts a[target]')?.href")
        assert link == TRACE_URL.format(trace_id=f"{0xABC << 100:032x}")
        browser.open("about:blank")


def test_hostile_content_stays_text(browser: Browser, tmp_path: Path) -> None:
    root = tmp_path / "journal"
    with recorder(root) as log:  # noqa: SIM117 - what is recorded stands below
        with log.run(HOSTILE, session_id=HOSTILE, run_id=HOSTILE, agent=HOSTILE):
            log.user_message(HOSTILE)
            with log.model(HOSTILE, HOSTILE, input=HOSTILE) as model:
                model.respond(HOSTILE)
            with log.tool(HOSTILE, {HOSTILE: HOSTILE}) as tool:
                tool.result([HOSTILE, {"type": "image", "data": HOSTILE}])
            log.agent_handoff(HOSTILE, HOSTILE)
            log.human_approval(HOSTILE, HOSTILE, {"question": HOSTILE})
            with pytest.raises(ValueError, match="script"), log.tool("t", {}):
                raise ValueError(HOSTILE)
    out = tmp_path / "offline.html"
    done = subprocess.run(
        [sys.executable, "-m", "wakelog", "show", "--html", str(root)],
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    out.write_bytes(done.stdout)
    with Viewing(root) as viewing:
        go(browser, viewing, "#/sessions", f"{ROWS}.length === 1")
        for view in ("#/runs", "#/events", "#/statistics", "#/health"):
            go(browser, viewing, view, "!!document.querySelector('main h1')")
        go(browser, viewing, "#/sessions", f"{ROWS}.length === 1")
        browser.evaluate(f"{ROWS}[0].querySelector('th a').click()")
        check_hostile(browser)
        browser.open("about:blank")
    browser.open(f"file://{out}")
    check_hostile(browser)


def check_hostile(browser: Browser) -> None:
    browser.wait_for("document.documentElement?.dataset.filled > 8")
    said = "document.body.textContent.split('<script>window.hurt=1</script>').length"
    assert browser.evaluate(said) > 8
    browser.evaluate("document.querySelectorAll('.card-head').forEach((head) => head.click())")
    browser.wait_for("document.querySelectorAll('.card.open .block').length > 12")
    assert browser.evaluate(said) > 20
    assert browser.evaluate("window.hurt") is None
    assert browser.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert browser.evaluate("document.querySelectorAll('main img, main script').length") == 0


def test_the_offline_file_is_the_same_page(browser: Browser, story: Path, tmp_path: Path) -> None:
    out = tmp_path / "trips.html"
    with out.open("wb") as file:
        subprocess.run(
            [sys.executable, "-m", "wakelog", "show", "--html", str(story)],
            stdout=file,
            check=True,
            timeout=SECONDS,
        )
    browser.open("about:blank")
    browser.open(f"file://{out}")
    browser.wait_for(f"{ROWS}.length === 8")
    browser.evaluate(f"location.hash = '#/session/{TRIP}'")
    browser.wait_for("document.documentElement.dataset.filled > 30")
    assert browser.evaluate(f"{CARDS}.length") == 23
    browser.evaluate("location.hash = '#/events?q=failed'")
    browser.wait_for("document.querySelectorAll('.found .card').length === 2")
    assert {url.partition(":")[0] for url in browser.requests()} <= {"file", "data", "about"}


def test_the_keyboard_reaches_everything(browser: Browser, viewing: Viewing) -> None:
    go(browser, viewing, "#/sessions", f"{ROWS}.length === 8")
    browser.press("j")
    browser.press("j")
    assert browser.evaluate("document.activeElement.textContent") == TRIP
    browser.press("Enter")
    browser.wait_for(f"{CARDS}.length > 20")
    browser.press("e")
    browser.wait_for("document.querySelector('.selected .title')?.textContent === 'hold_seats'")
    browser.press("o")
    browser.wait_for("document.querySelector('.selected.open .block') !== null")
    browser.press("Home")
    browser.press("ArrowLeft")
    browser.wait_for(f"{CARDS}.length === 1")
    browser.press("ArrowRight")
    browser.wait_for(f"{CARDS}.length > 20")
    browser.press("?")
    browser.wait_for("document.querySelector('dialog').open")
    browser.evaluate("document.querySelector('dialog').close()")
    browser.press("5")
    browser.wait_for("location.hash === '#/health'")
    browser.press("/")
    browser.wait_for("location.hash === '#/events'")


@pytest.mark.parametrize("scheme, width", [("light", 1360), ("dark", 1360), ("light", 400)])
def test_axe_finds_nothing(browser: Browser, viewing: Viewing, scheme: str, width: int) -> None:
    need("axe")
    axe = fetch_axe.axe().read_text(encoding="utf-8")
    browser.prefer(scheme)
    browser.resize(width, 850)
    views = {
        "#/sessions": f"{ROWS}.length === 8",
        "#/runs?q=failed": f"{ROWS}.length > 1",
        "#/events": f"{CARDS}.length > 20",
        f"#/session/{KILLED}": "document.documentElement.dataset.filled > 20",
        f"#/compare/session/{KILLED}/{TRIP}": "document.documentElement.dataset.differ > 0",
        "#/statistics": "document.documentElement.dataset.count > 0",
        "#/health": "document.documentElement.dataset.pending > 0",
    }
    if (scheme, width) != ("light", 1360):  # the same elements, in other colours or less room
        views = dict(list(views.items())[3::3] if width < 1000 else list(views.items())[::3])
    try:
        for place, ready in views.items():
            go(browser, viewing, place, ready)
            if "session/" in place and "compare" not in place:
                browser.evaluate("document.querySelectorAll('.card-head')[3].click()")
                browser.wait_for("document.querySelector('.card.open .block') !== null")
            browser.evaluate(f"{axe};0")
            found = browser.evaluate(
                "axe.run().then(({violations}) => violations.map((one) => "
                "`${one.id}: ${one.nodes.map((node) => node.html).join(' ').slice(0, 500)}`))"
            )
            assert found == [], place
            wide = browser.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, place
    finally:
        browser.prefer("light")
        browser.resize(1360, 850)


class Taking(BaseHTTPRequestHandler):
    """Takes whatever is delivered."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_dead_letter_is_replayed_from_the_page(
    browser: Browser, tmp_path: Path, story: Path
) -> None:
    root = tmp_path / "journal"
    subprocess.run(["cp", "-a", story, root], check=True)
    before = sum(one.delivered for one in books(root))
    server = HTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        with Viewing(root, "--endpoint", endpoint, "--protocol", "http/protobuf") as viewing:
            go(browser, viewing, "#/health", "!!document.querySelector('[data-replay]')")
            assert "is not allowed by the schema" in browser.evaluate("document.body.textContent")
            browser.evaluate("document.querySelector('[data-replay]').click()")
            browser.wait_for("document.body.textContent.includes('1 delivered.')")
            browser.wait_for("document.querySelector('[data-replay]') === null")
            browser.open("about:blank")
    finally:
        server.shutdown()
        server.server_close()
    assert sum(one.delivered for one in books(root)) == before + 1
    assert sum(one.dead_lettered for one in books(root)) == 0


class Answering(BaseHTTPRequestHandler):
    """Answers as a Prometheus does."""

    VALUES: ClassVar = {"circuit": "2", "sync_median": "0.0021", "sync_slow": "NaN"}

    def do_GET(self) -> None:
        [query] = parse_qs(urlsplit(self.path).query)["query"]
        [name] = (name for name, text in QUERIES.items() if text == query)
        result = {"metric": {"job": "travel-desk"}, "value": [0, self.VALUES[name]]}
        body = json.dumps({"status": "success", "data": {"result": [result]}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_circuits_and_syncs_come_from_a_prometheus(browser: Browser, story: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    said = "document.querySelector('main').innerText"
    try:
        with Viewing(story, "--prometheus", address) as viewing:
            go(browser, viewing, "#/health", f"{said}.includes('open: it is left alone')")
            assert "travel-desk\topen: it is left alone\t2 ms\t–" in browser.evaluate(said)
            browser.open("about:blank")
    finally:
        server.shutdown()
        server.server_close()
    with Viewing(story, "--prometheus", address) as viewing:
        assert "does not answer" in viewing.get("/api/health")["processes"]["problem"]


def test_only_what_is_near_the_window_is_drawn(browser: Browser, tmp_path: Path) -> None:
    root = tmp_path / "journal"
    with recorder(root) as log, log.run("count", session_id="long"):
        for number in range(1500):
            log.decision(f"number {number}")
        with Viewing(root) as viewing:
            check_long(browser, viewing)


def check_long(browser: Browser, viewing: Viewing) -> None:
    """Check a session that comes in two parts, and whose run is under way."""
    go(browser, viewing, "#/session/long", "document.documentElement.dataset.steps === '1501'")
    assert browser.evaluate(f"{CARDS}[0].dataset.status") == "running"
    browser.wait_for(f"{CARDS}.some((card) => card.textContent.includes('number 0'))")
    assert browser.evaluate(f"{CARDS}.length") < 200
    browser.press("End")
    browser.wait_for(f"{CARDS}.some((card) => card.textContent.includes('number 1499'))")
    assert browser.evaluate(f"{CARDS}.length") < 300
    browser.open("about:blank")


# Who is answered


def test_nothing_is_told_without_the_token(viewing: Viewing, story: Path) -> None:
    for given in ("", "Bearer ", "Bearer wrong", f"Basic {viewing.token}", viewing.token):
        for path in ("/api/home", "/api/sessions", "/api/follow", "/api/no-such"):
            status, _, body = viewing.ask(path, Authorization=given)
            assert (status, str(story).encode() in body) == (401, False)
        assert viewing.ask("/api/replay", "POST", "{}", Authorization=given)[0] == 401
    status, _, body = viewing.ask("/", Authorization="")
    assert status == 200
    assert b"trip" not in body


def test_another_host_and_another_origin_are_refused(viewing: Viewing) -> None:
    own = f"http://127.0.0.1:{viewing.port}"
    for host in ("evil.example", "127.0.0.1.evil.example", f"evil.example:{viewing.port}"):
        for path in ("/", "/api/home"):
            assert viewing.ask(path, Host=host)[0] == 421
    assert viewing.ask("/api/home", Host=f"localhost:{viewing.port}")[0] == 200
    for origin in ("", "null", "http://evil.example", own.replace("http", "ftp"), f"{own}1"):
        headers = {"Origin": origin} if origin else {}
        assert viewing.ask("/api/replay", "POST", '{"ids":[]}', **headers)[0] == 403
    site = {"Origin": own, "Sec_Fetch_Site": "cross-site"}
    assert viewing.ask("/api/replay", "POST", '{"ids":[]}', **site)[0] == 403
    assert viewing.ask("/api/replay", "POST", '{"ids":[]}', Origin=own)[0] == 409
    assert viewing.ask("/api/replay", Origin=own)[0] == 405
    assert viewing.ask("/", "POST", "x", Origin=own)[0] == 405


def test_every_answer_has_the_policy(viewing: Viewing) -> None:
    for path in (
        "/",
        "/static/main.js",
        "/static/../page.py",
        "/api/home",
        "/api/none",
        "/nothing",
    ):
        _, headers, _ = viewing.ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/api/sessions?sort=no",
        "/api/sessions?limit=-1",
        "/api/sessions?offset=x",
        "/api/sessions?q=since:never",
        "/api/session",
        "/api/session?session=a&run=b",
    ],
)
def test_a_request_that_makes_no_sense_is_answered_so(viewing: Viewing, path: str) -> None:
    status, _, body = viewing.ask(path)
    assert status == 400
    assert json.loads(body)["error"]


def test_keys_that_are_no_positions_find_nothing(viewing: Viewing) -> None:
    for key in ("", "x", "1-", "1-1", "99999999-0", "-1--1", "1-" + "9" * 30, "../../etc"):
        assert viewing.get(f"/api/contents?at={key}") == {}


@pytest.mark.parametrize(
    "options, said",
    [
        (["--trace-url", "javascript:alert(1)/{trace_id}"], "is not the URL of a page"),
        (["--trace-url", "http://localhost:16686"], "has to say where the id belongs"),
        (["--link", "Jaeger"], "NAME=URL"),
        (["--link", "x=javascript:alert(1)"], "is not the URL of a page"),
        (["--port", "70000"], "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_refused(story: Path, options: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wakelog", "view", str(story), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 1
    assert said in done.stderr


def test_a_file_by_itself_has_a_page_too(story: Path, tmp_path: Path) -> None:
    [path, *_] = sorted(story.glob("*/00000001.jsonl"))
    copied = tmp_path / "one.jsonl"
    copied.write_bytes(path.read_bytes())
    with Viewing(copied) as viewing:
        assert viewing.get("/api/sessions")["count"] >= 1
        assert viewing.get("/api/health")["total"] is None


def test_it_ends_while_somebody_follows(story: Path) -> None:
    viewing = Viewing(story)
    connection = http.client.HTTPConnection("127.0.0.1", viewing.port, timeout=SECONDS)
    connection.request("GET", "/api/follow", headers={"Authorization": f"Bearer {viewing.token}"})
    answer = connection.getresponse()
    assert answer.readline() == b"event: first\n"
    viewing.close()
    assert answer.read().endswith(b"\n\n")
    connection.close()
    assert viewing.ended() == (0, "")
