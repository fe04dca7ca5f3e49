"""An index on a cluster: where its manifest is, how a build takes its name, what becomes of what was left."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import IN_MEMORY, MemoryClient
from httpx import Headers
from numpy.typing import NDArray
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse
from search_rows import CHECKPOINT, SPACES, Rows, assert_same, names

from diptych.search import (
    Cluster,
    Index,
    IndexInUse,
    IndexSealed,
    IndexUnreachable,
    IndexUnreadable,
    Space,
    WrongCheckpoint,
    remote_building,
    remote_client,
)
from diptych.search.remote_manifest import is_stamped, stamped
from diptych.search.remote_params import search_params
from diptych.search.stored import OVERSAMPLING

ONE = {"dense": np.eye(16)[:1]}


@pytest.fixture
def client(memory: MemoryClient) -> Iterator[MemoryClient]:
    """What stands for the server, empty again afterwards."""
    yield memory
    memory.forget("photos")


@pytest.fixture
def place(client: MemoryClient) -> str:
    return f"{IN_MEMORY}/photos"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing sleeps between tries."""
    monkeypatch.setattr(remote_client, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(remote_building, "SECONDS_BETWEEN_LOOKS", 0.0)


def collections(client: MemoryClient) -> list[str]:
    """Collections of the index `photos`."""
    return [one.name for one in client.get_collections().collections if one.name.startswith("photos")]


def built(place: str, ids: list[str], *, checkpoint: str = CHECKPOINT, **options: Any) -> None:
    with Index.build(place, SPACES, checkpoint=checkpoint, **options) as index:
        index.add(ids, {"dense": np.eye(16)[: len(ids)]}, [{} for _ in ids])


def failing(
    monkeypatch: pytest.MonkeyPatch, client: MemoryClient, method: str, answers: list[UnexpectedResponse]
) -> list[tuple[Any, ...]]:
    """Let the first calls of `method` end in these errors; gives the arguments of all calls."""
    asked: list[tuple[Any, ...]] = []
    genuine = getattr(client, method)

    def call(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        if answers:
            raise answers.pop(0)
        return genuine(*arguments, **options)

    monkeypatch.setattr(client, method, call, raising=False)
    return asked


def response(code: int, said: str) -> UnexpectedResponse:
    return UnexpectedResponse(code, said, f'{{"status":{{"error":"{said}"}}}}'.encode(), Headers())


def test_the_manifest_goes_with_the_collection(client: MemoryClient, place: str) -> None:
    fields: dict[str, Any] = {"year": "integer"}
    spaces = {**SPACES, "words": Space(99, "dot", "lexical"), "quick": Space(8, "dot", quantization="scalar")}
    with Index.create(place, spaces, checkpoint=CHECKPOINT, sources="a\nb", payload_fields=fields) as index:
        manifest = index.manifest
    with Index.open(place, checkpoint=CHECKPOINT) as again:
        assert again.manifest == manifest
        assert again.manifest.spaces == spaces and again.manifest.sources == "a\nb"
        assert again.manifest.payload_fields == fields and again.manifest.state == "ready"
        assert again.place == place
        for asked in (lambda: again.folder, again.size):
            with pytest.raises(ValueError, match=r"photos lies on a cluster, and in no folder"):
                asked()
    (collection,) = collections(client)
    assert is_stamped(collection, "photos")
    assert client.get_collection("photos").config.metadata["diptych"]["checkpoint"] == CHECKPOINT


def test_a_build_takes_the_name_at_its_end_and_the_earlier_one_goes(client: MemoryClient, place: str) -> None:
    built(place, ["old"])
    (before,) = collections(client)
    with Index.build(place, SPACES, checkpoint=CHECKPOINT) as fresh:
        fresh.add(["new", "newer"], {"dense": np.eye(16)[:2]}, [{}, {}])
        assert len(collections(client)) == 2
        with Index.open(place) as meanwhile:
            assert [record.id for record in meanwhile.scroll()] == ["old"]
    (after,) = collections(client)
    assert after != before
    with Index.open(place) as index:
        assert len(index) == 2 == index.manifest.count
        with pytest.raises(IndexSealed, match="was built whole"):
            index.add(["x"], ONE, [{}])


@pytest.mark.parametrize("error", [RuntimeError("my own"), KeyboardInterrupt()])
def test_a_build_that_ends_badly_leaves_the_earlier_one(client: MemoryClient, place: str, error: BaseException) -> None:
    built(place, ["old"])
    before = collections(client)
    with pytest.raises(type(error)), Index.build(place, SPACES, checkpoint=CHECKPOINT) as fresh:
        fresh.add(["new"], ONE, [{}])
        raise error
    assert collections(client) == before
    with Index.open(place) as index:
        assert [record.id for record in index.scroll()] == ["old"]


def test_what_a_killed_build_left_is_cleared_by_the_next(client: MemoryClient, place: str) -> None:
    built(place, ["old"])
    (kept,) = collections(client)
    # What is there if the process is killed while it fills, or before it deleted; and what is not to be touched.
    left, replaced, restored, strange = (stamped("photos") for _ in range(4))
    for name in (left, other := stamped("photos--2"), "photos--mine"):
        client.create_collection(name, vectors_config={}, metadata={"diptych": {"state": "building"}})
    client.create_collection(replaced, vectors_config={}, metadata={"diptych": {"state": "replaced"}})
    client.create_collection(restored, vectors_config={}, metadata={"diptych": {"state": "ready"}})
    client.create_collection(strange, vectors_config={})
    with Index.open(place) as index:
        assert len(index) == 1
    built(place, ["new"])
    now = set(collections(client))
    assert not now & {left, replaced, kept}
    assert {other, "photos--mine", restored, strange} < now and len(now) == 5


def test_an_index_whose_first_build_was_killed_is_told(client: MemoryClient, place: str) -> None:
    with pytest.raises(IndexUnreadable, match="there is no index at http://in-memory:6333/photos; make one"):
        Index.open(place)
    built(place, ["a"])
    metadata = client.get_collection("photos").config.metadata["diptych"]
    client.update_collection("photos", metadata={"diptych": {**metadata, "state": "building"}})
    with pytest.raises(IndexUnreadable, match="was interrupted; run `diptych index` again"):
        Index.open(place)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "a collection that Diptych did not make"),
        ({"mine": 1}, "a collection that Diptych did not make"),
        ({"diptych": {"format": "1"}}, "a collection that Diptych did not make"),
        ({"diptych": {"format": 9}}, "has format 9, this Diptych reads up to 1 of a cluster; upgrade"),
        ({"diptych": {"format": 1, "checkpoint": "c"}}, "are damaged .*created.*rebuild"),
    ],
)
def test_what_is_no_index_is_told_and_never_replaced(
    client: MemoryClient, place: str, metadata: dict[str, Any] | None, message: str
) -> None:
    client.create_collection("photos", vectors_config={}, metadata=metadata)
    with pytest.raises(IndexUnreadable, match=message):
        Index.open(place)
    with pytest.raises(IndexUnreadable, match=f"will not replace .*{message}"):
        Index.create(place, SPACES, checkpoint=CHECKPOINT, overwrite=True)
    with pytest.raises(IndexUnreadable, match="will not replace"):
        built(place, ["a"])
    assert collections(client) == ["photos"]


def test_an_index_under_its_collections_own_name_opens_and_is_not_switched(client: MemoryClient, place: str) -> None:
    built(f"{IN_MEMORY}/photos", ["a"])
    (collection,) = collections(client)
    with Index.open(f"{IN_MEMORY}/{collection}", checkpoint=CHECKPOINT) as index:
        assert len(index) == 1
    with pytest.raises(IndexUnreadable, match="is a collection's own and no alias"):
        built(f"{IN_MEMORY}/{collection}", ["b"])


def test_readers_go_on_with_a_rebuilt_index_and_only_with_one_of_its_kind(client: MemoryClient, place: str) -> None:
    built(place, ["a"])
    with Index.open(place, checkpoint=CHECKPOINT) as reader:
        built(place, ["b"])
        assert names(reader.search(np.ones(16))) == ["b"]
        built(place, ["a", "b", "c"])
        assert len(reader) == 3
        built(place, ["d"], checkpoint="ffff0000ffff")
        with pytest.raises(WrongCheckpoint, match="photos holds vectors of checkpoint ffff0000ffff"):
            reader.search(np.ones(16))
        with Index.build(place, {**SPACES, "more": Space(2, "dot")}, checkpoint=CHECKPOINT):
            pass
        with pytest.raises(IndexUnreadable, match="rebuilt with other spaces meanwhile; open it again"):
            reader.get(["d"])
        client.delete_collection(collections(client)[0])
        with pytest.raises(IndexUnreadable, match="was deleted meanwhile"):
            reader.get(["d"])


def test_an_index_opens_though_it_is_replaced_meanwhile(
    client: MemoryClient, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(place, ["a"])
    genuine, looks = client.get_collection, [0]

    def get(name: str) -> models.CollectionInfo:
        looks[0] += 1
        if looks[0] == 1:
            built(place, ["b"])  # between its finding the collection and reading what it is
        return genuine(name)

    monkeypatch.setattr(client, "get_collection", get, raising=False)
    with Index.open(place) as index:
        assert [record.id for record in index.scroll()] == ["b"]


def test_writers_and_walkers_do_not_follow(
    client: MemoryClient, place: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diptych.search.remote.ROWS_AT_ONCE", 50)
    with Index.create(place, SPACES, checkpoint=CHECKPOINT) as writer:
        writer.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
        walk = writer.scroll()
        next(walk)
        Index.create(place, SPACES, checkpoint=CHECKPOINT, overwrite=True).close()
        with pytest.raises(IndexUnreadable, match="was replaced or deleted meanwhile; open it again"):
            list(walk)
        for write in (lambda: writer.add(["x"], ONE, [{}]), lambda: writer.delete(["row 1"])):
            with pytest.raises(IndexUnreadable, match="was replaced or deleted meanwhile; open it again"):
                write()
    with Index.open(place) as now:
        assert len(now) == 0


def test_of_two_builds_the_first_is_told(client: MemoryClient, place: str) -> None:
    with (
        pytest.raises(IndexInUse, match=r"another build of .*photos began meanwhile, and cleared this one"),
        Index.build(place, SPACES, checkpoint=CHECKPOINT) as first,
    ):
        first.add(["a"], ONE, [{}])
        built(place, ["b"])
        first.add(["c"], ONE, [{}])
    with Index.open(place) as index:
        assert [record.id for record in index.scroll()] == ["b"]


def test_what_is_missing_elsewhere_is_not_taken_for_another_build(client: MemoryClient, place: str) -> None:
    other = f"{IN_MEMORY}/photos-2"
    built(other, ["a"])
    with Index.open(other) as gone:
        client.forget("photos")
        with (
            pytest.raises(IndexUnreadable, match="photos-2 was deleted meanwhile"),
            Index.build(place, SPACES, checkpoint=CHECKPOINT) as fresh,
        ):
            fresh.extend(gone)
    assert collections(client) == []


def test_any_number_may_write(client: MemoryClient, place: str) -> None:
    with Index.create(place, SPACES, checkpoint=CHECKPOINT) as one, Index.open(place) as two:
        one.add(["a"], ONE, [{}])
        two.add(["b"], ONE, [{}])
        assert len(one) == len(two) == 2


def test_rows_move_from_a_folder_to_a_cluster_and_back(
    client: MemoryClient, place: str, rows: Rows, tmp_path: Path, queries: NDArray[np.float32]
) -> None:
    built_here = tmp_path / "here"
    with Index.build(built_here, SPACES, checkpoint=CHECKPOINT) as index:
        index.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
    with Index.open(built_here) as here, Index.build(place, SPACES, checkpoint=CHECKPOINT) as there:
        assert there.extend(here) == 200
    with Index.open(place) as there, Index.build(tmp_path / "back", SPACES, checkpoint=CHECKPOINT) as back:
        assert back.extend(there) == 200
    with Index.open(built_here) as here, Index.open(place) as there, Index.open(tmp_path / "back") as back:
        for query in queries:
            assert_same(here.search(query, limit=50), there.search(query, limit=50))
            assert_same(here.search(query, limit=50), back.search(query, limit=50))


def test_rows_go_in_batches_and_the_last_of_equal_ids_stays(
    client: MemoryClient, place: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = failing(monkeypatch, client, "upsert", [])
    with Index.create(place, SPACES, checkpoint=CHECKPOINT, cluster=Cluster(batch=64)) as index:
        vectors = np.vstack([rows.vectors, rows.vectors[:1]])
        index.add([*rows.ids, "row 0"], {"dense": vectors}, [*rows.payloads, {"v": 2}])
        assert sorted(len(arguments[1]) for arguments in sent) == [8, 64, 64, 64]
        assert len({point.id for _, points in sent for point in points}) == 200
        assert index.get(["row 0"])[0].payload == {"v": 2}
        assert len(index) == 200


def test_batches_are_halved_until_the_server_takes_them(
    client: MemoryClient, place: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, genuine = 30, client.upsert
    sent: list[int] = []

    def upsert(collection: str, points: list[Any], **options: Any) -> Any:
        sent.append(len(points))
        if len(points) > most:
            raise response(400, "JSON payload (9 bytes) is larger than allowed (limit: 8 bytes).")
        return genuine(collection, points, **options)

    monkeypatch.setattr(client, "upsert", upsert, raising=False)
    with Index.create(place, SPACES, checkpoint=CHECKPOINT, cluster=Cluster(batch=100, in_flight=1)) as index:
        index.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
        # 100 -> 50 + 50 -> 25 each; the rest goes as the server wants it from then on.
        assert sent == [100, 50, 25, 25, 50, 25, 25, 25, 25, 25, 25]
        assert len(index) == 200
        most = 0
        with pytest.raises(ValueError, match=r"the server does not take 'row 1' \(row 1\): .*larger than allowed"):
            index.add(["row 1"] * 2, {"dense": np.eye(16)[:2]}, [{}, {}])


def test_a_row_that_the_server_refuses_is_named(
    client: MemoryClient, place: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = client.upsert

    def upsert(collection: str, points: list[models.PointStruct], **options: Any) -> Any:
        if any(point.payload and point.payload["_diptych_id"] == "row 137" for point in points):
            raise response(400, "Wrong input: no")
        return genuine(collection, points, **options)

    monkeypatch.setattr(client, "upsert", upsert, raising=False)
    with Index.create(place, SPACES, checkpoint=CHECKPOINT, cluster=Cluster(batch=100, in_flight=1)) as index:
        with pytest.raises(ValueError, match=r"not take 'row 137' \(row 137\): .*refuses \(400\): Wrong input: no"):
            index.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
        assert [record.id for record in index.get(["row 99", "row 137"])] == ["row 99"]


def test_writes_survive_a_server_that_comes_and_goes(
    client: MemoryClient, place: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = failing(monkeypatch, client, "upsert", [response(503, "starting")] * 5)
    with Index.create(place, SPACES, checkpoint=CHECKPOINT, cluster=Cluster(batch=50)) as index:
        index.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
        assert len(index) == 200 and len(sent) == 4 + 5


def test_a_full_server_ends_the_build_and_the_earlier_index_stays(
    client: MemoryClient, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(place, ["old"])
    before = collections(client)
    failing(monkeypatch, client, "upsert", [response(500, "No space left on device: WAL buffer size")] * 9)
    with pytest.raises(OSError, match="no space left on the server") as caught:
        built(place, ["new"])
    assert caught.value.errno == errno.ENOSPC
    assert collections(client) == before


def test_a_collection_made_though_the_answer_was_lost_is_no_error(
    client: MemoryClient, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, lost = client.create_collection, [True]

    def create(*arguments: Any, **options: Any) -> Any:
        genuine(*arguments, **options)
        if lost.pop():
            lost.append(False)
            raise response(504, "timed out")

    monkeypatch.setattr(client, "create_collection", create, raising=False)
    built(place, ["a"])
    assert len(collections(client)) == 1


def test_a_server_that_keeps_no_metadata_is_told(
    client: MemoryClient, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = client.create_collection

    def create(*arguments: Any, metadata: object = None, **options: Any) -> Any:
        return genuine(*arguments, **options)

    monkeypatch.setattr(client, "create_collection", create, raising=False)
    with pytest.raises(IndexUnreadable, match=r"Diptych needs Qdrant 1\.16 or newer"):
        built(place, ["a"])
    assert collections(client) == []


def test_a_build_waits_for_the_graphs_and_tells_if_there_are_none(
    client: MemoryClient, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = client.get_collection
    states = [models.CollectionStatus.GREEN, models.CollectionStatus.YELLOW, models.CollectionStatus.YELLOW]
    looked: list[str] = []

    def get(name: str) -> models.CollectionInfo:
        info = genuine(name)
        looked.append(name)
        return info.model_copy(update={"status": states.pop(0), "optimizer_status": "ok"}) if states else info

    monkeypatch.setattr(client, "get_collection", get, raising=False)
    built(place, ["a"])
    assert len(looked) == 4 and not states
    # One look at the earlier index's metadata, one at the new collection's, and one when it is full.
    states[:] = [models.CollectionStatus.GREEN] * 2 + [models.CollectionStatus.RED]
    with pytest.raises(IndexUnreachable, match="could not be indexed: ok"):
        built(place, ["b"])
    with Index.open(place) as index:
        assert [record.id for record in index.scroll()] == ["a"]


def test_an_earlier_collection_that_cannot_be_deleted_goes_with_the_next_build(
    client: MemoryClient, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built(place, ["a"])
    (left,) = collections(client)
    with monkeypatch.context() as patch:
        failing(patch, client, "delete_collection", [response(403, "not you")])
        built(place, ["b"])
    assert f"{left} is no longer used and could not be deleted" in caplog.text
    assert len(collections(client)) == 2
    built(place, ["c"])
    assert len(collections(client)) == 1


def test_each_kind_of_space_is_laid_as_it_should_be(
    client: MemoryClient, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, laid = client.create_collection, []

    def create(name: str, dense: Any, sparse: Any, **options: Any) -> Any:
        laid.append((dense, sparse, options))
        return genuine(name, dense, sparse, **options)

    monkeypatch.setattr(client, "create_collection", create, raising=False)
    spaces = {
        "dense": Space(8, "cosine"),
        "small": Space(8, "dot", quantization="product"),
        "words": Space(9, "dot", "lexical"),
        "late": Space(4, "cosine", "late"),
        "code": Space(20, "hamming", "code"),
    }
    options = Cluster(shards=6, replicas=3, consistency=2)
    Index.create(place, spaces, checkpoint=CHECKPOINT, cluster=options).close()
    ((dense, sparse, given),) = laid
    assert list(sparse) == ["words"] and list(dense) == ["dense", "small", "late", "code"]
    assert (given["shard_number"], given["replication_factor"], given["write_consistency_factor"]) == (6, 3, 2)
    assert all(params.on_disk for params in dense.values())
    assert [params.distance for params in dense.values()] == ["Cosine", "Dot", "Cosine", "Manhattan"]
    assert [params.hnsw_config and params.hnsw_config.m for params in dense.values()] == [None, None, 0, 0]
    assert dense["late"].multivector_config.comparator == "max_sim"
    assert dense["code"].datatype == "uint8" and dense["code"].size == 20
    assert dense["small"].quantization_config.product.always_ram
    assert dense["dense"].quantization_config is None


def test_small_copies_are_rescored_and_passed_over_where_it_is_to_be_exact() -> None:
    quick = search_params(Space(8, "dot", quantization="binary"), exact=False).quantization
    assert quick is not None and quick.rescore and quick.oversampling == OVERSAMPLING["binary"]
    exact = search_params(Space(8, "dot", quantization="binary"), exact=True)
    assert exact.exact and exact.quantization is not None and exact.quantization.ignore
    plain = search_params(Space(8, "dot"), exact=False)
    assert not plain.exact and plain.quantization is None


def test_deep_pages_are_asked_for_no_deeper_than_there_are_rows(
    client: MemoryClient, place: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index.create(place, SPACES, checkpoint=CHECKPOINT) as index:
        index.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
        limits: list[int] = []
        genuine = client.query_batch_points

        def query(name: str, requests: list[models.QueryRequest]) -> Any:
            limits.extend(int(request.limit or 0) for request in requests)
            return genuine(name, requests=requests)

        monkeypatch.setattr(client, "query_batch_points", query, raising=False)
        assert len(index.search(rows.vectors[0], limit=10**9)) == 200
        assert limits == [201]


def test_a_query_without_terms_is_not_sent(client: MemoryClient, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index.create(place, {"words": Space(9, "dot", "lexical")}, checkpoint=CHECKPOINT) as index:
        index.add(["a", "b"], {"words": [([1], [1.0]), ([2], [1.0])]}, [{}, {}])
        sent = failing(monkeypatch, client, "query_batch_points", [])
        assert index.search(([], []), space="words") == [] and not sent
        answers = index.search_batch([([2], [1.0]), ([], []), ([1], [1.0])], space="words")
        assert [names(hits) for hits in answers] == [["b"], [], ["a"]]
