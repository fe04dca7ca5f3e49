"""What a server answers, over a real socket: tried again, waited for, or told in words; never two minutes asleep."""

import errno
import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from diptych.search import IndexUnreachable, IndexUnreadable
from diptych.search.address import Address
from diptych.search.cluster import Cluster
from diptych.search.remote_client import FIRST_WAIT, TRIES, Connection
from diptych.search.remote_faults import CollectionMissing, TooLarge

COUNTED = {"result": {"count": 7}, "status": "ok", "time": 0.0}


def refused(message: str) -> dict[str, Any]:
    return {"status": {"error": message}, "time": 0.0}


class Stub:
    """A server that gives these answers in turn, the last one for ever; remembers what it was sent."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any], dict[str, str]]] = []
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                stub.asked.append(self.path)
                stub.keys.append(self.headers["api-key"])
                code, body, headers = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
                text = json.dumps(body).encode()
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = Address(f"http://127.0.0.1:{self._server.server_port}", "photos")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    server = Stub()
    yield server
    server.close()


@pytest.fixture
def waits() -> list[float]:
    """For how long it would have slept."""
    return []


def counted(address: Address, waits: list[float], **options: Any) -> int:
    connection = Connection(address, Cluster(timeout=5), wait=lambda _, seconds: waits.append(seconds))
    try:
        return connection.ask(lambda client: client.count("photos").count, **options)
    finally:
        connection.close()


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(stub: Stub, waits: list[float], code: int) -> None:
    stub.answers = [(code, refused("busy"), {})] * 3 + [(200, COUNTED, {})]
    assert counted(stub.address, waits) == 7
    assert len(stub.asked) == 4 and len(waits) == 3
    assert all(0 <= seconds <= FIRST_WAIT * 2**i for i, seconds in enumerate(waits))


def test_waits_grow_and_are_random_and_end(stub: Stub, waits: list[float]) -> None:
    stub.answers = [(503, refused("busy"), {})]
    with pytest.raises(IndexUnreachable, match=r"cannot serve \(503: busy\); see the server's log"):
        counted(stub.address, waits)
    assert len(stub.asked) == TRIES and len(waits) == TRIES - 1
    assert all(seconds <= 30 for seconds in waits)
    assert len(set(waits)) == len(waits)


def test_it_waits_as_long_as_the_server_asks_for(stub: Stub, waits: list[float]) -> None:
    stub.answers = [(429, refused("slow down"), {"Retry-After": "17"}), (200, COUNTED, {})]
    assert counted(stub.address, waits) == 7
    assert waits == [17]
    stub.answers = [(429, refused("slow down"), {"Retry-After": "soon"}), (200, COUNTED, {})]
    assert counted(stub.address, waits) == 7
    assert len(waits) == 2 and waits[1] <= FIRST_WAIT
    stub.answers = [(429, refused("slow down"), {"Retry-After": "1"})]
    with pytest.raises(IndexUnreachable, match=r"is overloaded \(slow down\)"):
        counted(stub.address, waits)


@pytest.mark.parametrize(
    ("code", "said", "kind", "message"),
    [
        (401, "Must provide an API key", PermissionError, r"refuses the key \(401: Must .*into QDRANT_API_KEY"),
        (403, "Forbidden", PermissionError, "refuses the key"),
        (404, "Not found: Collection `photos` doesn't exist!", CollectionMissing, "there is no index at http://127"),
        (413, "", TooLarge, "does not take so much at once"),
        (400, "JSON payload (9 bytes) is larger than allowed (limit: 8 bytes).", TooLarge, "larger than allowed"),
        (400, "Wrong input: Vector dimension error", ValueError, r"refuses \(400\): Wrong input"),
        (507, "full", OSError, "no space left on the server"),
        (500, "Service internal error: No space left on device: WAL", OSError, "no space left on the server"),
    ],
)
def test_what_does_not_pass_is_told_at_once(
    stub: Stub, waits: list[float], code: int, said: str, kind: type[Exception], message: str
) -> None:
    stub.answers = [(code, refused(said), {})]
    with pytest.raises(kind, match=message) as caught:
        counted(stub.address, waits)
    assert len(stub.asked) == 1 and not waits
    if kind is OSError:
        assert isinstance(caught.value, OSError) and caught.value.errno == errno.ENOSPC


def test_a_server_of_another_kind_is_told(stub: Stub, waits: list[float]) -> None:
    stub.answers = [(200, {"hello": {"count": "many"}, "result": {"count": "many"}}, {})]
    with pytest.raises(IndexUnreadable, match="is not a Qdrant server"):
        counted(stub.address, waits)
    assert len(stub.asked) == 1


def test_nobody_there_is_told(waits: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Address(f"http://127.0.0.1:{free.getsockname()[1]}", "photos")
    with pytest.raises(IndexUnreachable, match=r"cannot reach http://127.*/photos \(ConnectError.*is the server up"):
        counted(address, waits, tries=3)
    assert len(waits) == 2


def test_the_key_is_of_the_environment_and_never_told(
    stub: Stub, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "hush hush")
    stub.answers = [(403, refused("no"), {})]
    with pytest.warns(UserWarning, match="insecure connection"), pytest.raises(PermissionError) as caught:
        counted(stub.address, waits)
    assert stub.keys == ["hush hush"]
    assert "hush" not in str(caught.value)


def test_who_is_stopped_does_not_try_again(stub: Stub, waits: list[float]) -> None:
    stub.answers = [(503, refused("busy"), {})]
    stop = Event()
    stop.set()
    with pytest.raises(IndexUnreachable):
        counted(stub.address, waits, stop=stop)
    assert len(stub.asked) == 1 and not waits


def test_errors_that_are_not_the_servers_stay_as_they_are(waits: list[float]) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError

    client: Any = object()
    fail: Callable[[Any], int] = broken
    with pytest.raises(ZeroDivisionError):
        Connection(Address("http://nowhere", "x"), Cluster(), client=client).ask(fail)
