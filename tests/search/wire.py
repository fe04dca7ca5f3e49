"""The client's memory behind a real socket: what is sent must be JSON that Qdrant's published schema takes.

Bodies are read by the models that the client generates from the server's OpenAPI description, strictly, and answers
are written by them, so that a field that JSON would bend does not pass here as it would within one process.
"""

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

Route = Callable[[Any, str, Any], object]

_DONE = models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def _create(memory: Any, name: str, body: models.CreateCollection) -> object:
    return memory.create_collection(name, body.vectors, body.sparse_vectors, metadata=body.metadata)


def _update(memory: Any, name: str, body: models.UpdateCollection) -> object:
    return memory.update_collection(name, metadata=body.metadata)


def _upsert(memory: Any, name: str, body: models.PointsList) -> object:
    memory.upsert(name, body.points)
    return _DONE


def _retrieve(memory: Any, name: str, body: models.PointRequest) -> object:
    return memory.retrieve(name, body.ids, body.with_payload, body.with_vector)


def _delete_points(memory: Any, name: str, body: models.PointIdsList) -> object:
    memory.delete(name, body)
    return _DONE


def _count(memory: Any, name: str, body: models.CountRequest) -> object:
    return memory.count(name, body.filter)


def _scroll(memory: Any, name: str, body: models.ScrollRequest) -> object:
    points, following = memory.scroll(
        name, body.filter, body.limit, offset=body.offset, with_payload=body.with_payload, with_vectors=body.with_vector
    )
    return {"points": points, "next_page_offset": following}


def _query(memory: Any, name: str, body: models.QueryRequestBatch) -> object:
    return memory.query_batch_points(name, requests=body.searches)


def _index_field(memory: Any, name: str, body: models.CreateFieldIndex) -> object:
    assert body.field_schema is not None
    return _DONE


# Method, path after /collections, model of the body, what it does.
ROUTES: list[tuple[str, str, type[BaseModel] | None, Route]] = [
    ("POST", "/aliases", models.ChangeAliasesOperation, lambda m, _, b: m.update_collection_aliases(b.actions)),
    ("GET", "", None, lambda m, _, b: m.get_collections()),
    ("GET", "/(?P<name>[^/]+)/exists", None, lambda m, name, b: {"exists": m.collection_exists(name)}),
    ("GET", "/(?P<name>[^/]+)", None, lambda m, name, b: m.get_collection(name)),
    ("PUT", "/(?P<name>[^/]+)", models.CreateCollection, _create),
    ("PATCH", "/(?P<name>[^/]+)", models.UpdateCollection, _update),
    ("DELETE", "/(?P<name>[^/]+)", None, lambda m, name, b: m.delete_collection(name)),
    ("PUT", "/(?P<name>[^/]+)/index", models.CreateFieldIndex, _index_field),
    ("PUT", "/(?P<name>[^/]+)/points", models.PointsList, _upsert),
    ("POST", "/(?P<name>[^/]+)/points", models.PointRequest, _retrieve),
    ("POST", "/(?P<name>[^/]+)/points/delete", models.PointIdsList, _delete_points),
    ("POST", "/(?P<name>[^/]+)/points/count", models.CountRequest, _count),
    ("POST", "/(?P<name>[^/]+)/points/scroll", models.ScrollRequest, _scroll),
    ("POST", "/(?P<name>[^/]+)/points/query/batch", models.QueryRequestBatch, _query),
]


def answer(memory: Any, method: str, path: str, body: bytes) -> tuple[int, object]:
    """Status and result of one request."""
    if (method, path) == ("GET", "/aliases"):
        return 200, memory.get_aliases()
    for expected, pattern, model, route in ROUTES:
        found = re.fullmatch("/collections" + pattern, path)
        if not found or method != expected:
            continue
        try:
            # Python writes and takes NaN, which is no JSON.
            read = json.loads(body, parse_constant=lambda word: 1 / 0) if body else None
            given = None if model is None else TypeAdapter(model).validate_python(read)
            return 200, route(memory, found.groupdict().get("name", ""), given)
        except UnexpectedResponse as error:
            return error.status_code or 500, error.structured()["status"]["error"]
        except (ValidationError, ZeroDivisionError) as error:
            return 400, f"Format error in JSON body: {error}"
    return 501, f"the test's server knows no {method} {path}"


class WireServer:
    """Serves a memory on loopback until it is closed; `address` is where."""

    def __init__(self, memory: Any) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                code, result = answer(memory, self.command, self.path.partition("?")[0], body)
                status = "ok" if code == 200 else {"error": result}
                text = json.dumps({"result": to_jsonable_python(result), "status": status, "time": 0.0}).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
