"""How an index on a cluster is filled: a fresh collection beside the one in use, and an alias switched at the end.

    photos            alias, what one opens and searches
    photos--<stamp>   collections: the one in use, and the one that a build fills

There is no lock on a cluster: a build that begins clears what earlier ones left, also one still under way, which
then fails. So one builds an index from one place at a time.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

from qdrant_client import models

from diptych.search.address import Address
from diptych.search.cluster import Cluster
from diptych.search.errors import IndexInUse, IndexUnreachable, IndexUnreadable
from diptych.search.filters import field_path
from diptych.search.manifest import Manifest
from diptych.search.remote import RemoteStore
from diptych.search.remote_client import Connection
from diptych.search.remote_faults import CollectionMissing
from diptych.search.remote_manifest import aliased, leftovers, mark_replaced, named, read_manifest, stamped, to_metadata
from diptych.search.remote_params import FIELD_TYPES, dense_params, sparse_params

SECONDS_BETWEEN_LOOKS = 2.0

_log = logging.getLogger(__name__)


@contextmanager
def filling_remote(
    address: Address, manifest: Manifest, cluster: Cluster | None, *, writable: bool, overwrite: bool
) -> Iterator[RemoteStore]:
    """A store to fill; when the block ends well, and the server has built its graphs, it takes the name `address`.

    Args:
        address: of the index.
        manifest: of the new index, its state "building".
        cluster: how it lies there.
        writable: whether it takes writes once it is made.
        overwrite: whether an index that is there may be replaced.

    Yields:
        The store; closed when the block ends.

    Raises:
        FileExistsError: if there is an index and `overwrite` is false.
        IndexUnreadable: if the name is that of something else, or the server is too old.
        IndexInUse: if another build of the same index began meanwhile.
        IndexUnreachable, PermissionError, OSError: as `Connection.ask`; the earlier index is then in its place.
    """
    connection = Connection(address, cluster or Cluster())
    try:
        if not overwrite and named(connection) is not None:
            raise FileExistsError(f"{address} exists; open it with Index.open, or pass overwrite=True to replace it")
        _require_replaceable(connection)
        _delete(connection, leftovers(connection))
        fresh = stamped(address.name)
        manifest = replace(manifest, **({"live": fresh} if writable else {"sealed": (fresh,)}))
        try:
            _create(connection, fresh, manifest)
            store = RemoteStore(connection, manifest, fresh)
            yield store
            _wait_until_indexed(connection, fresh)
            ready = to_metadata(replace(manifest, state="ready"), address.name)
            connection.ask(lambda client: client.update_collection(fresh, metadata=ready))
            earlier = _switch(connection, fresh)
        except BaseException as error:
            if not _clear(connection, fresh) and isinstance(error, IndexUnreadable):
                raise IndexInUse(f"another build of {address} began meanwhile, and cleared this one") from error
            raise
        _delete(connection, earlier, mark=True)
    finally:
        connection.close()


def require_replaceable_remote(address: Address, cluster: Cluster | None = None) -> None:
    """Raise if the name at `address` is that of anything but an index.

    Raises:
        IndexUnreadable, IndexUnreachable, PermissionError: as `filling_remote`.
    """
    connection = Connection(address, cluster or Cluster())
    try:
        _require_replaceable(connection)
    finally:
        connection.close()


def _require_replaceable(connection: Connection) -> None:
    """Raise if the name is that of anything but an index that a build can put another in the place of."""
    place, collection = connection.address, named(connection)
    if collection is None:
        return
    try:
        read_manifest(connection, collection)
    except CollectionMissing:
        return
    except IndexUnreadable as error:
        raise IndexUnreadable(f"will not replace {place}; delete it there if it may go: {error}") from None
    if collection == place.name:
        raise IndexUnreadable(
            f"will not replace {place}: the name is a collection's own and no alias, so nothing can be switched; "
            f"build under another name, or delete it there"
        )


def _create(connection: Connection, collection: str, manifest: Manifest) -> None:
    """A new, empty collection.

    Raises:
        IndexUnreadable: if the server keeps no metadata.
    """
    cluster = connection.cluster
    metadata = to_metadata(manifest, connection.address.name)

    def create(client) -> None:
        if client.collection_exists(collection):
            return  # an earlier try did it, and its answer was lost
        client.create_collection(
            collection,
            dense_params(manifest.spaces),
            sparse_params(manifest.spaces) or None,
            shard_number=cluster.shards,
            replication_factor=cluster.replicas,
            write_consistency_factor=cluster.consistency,
            metadata=metadata,
        )

    connection.ask(create)
    info = connection.ask(lambda client: client.get_collection(collection))
    if not info.config.metadata:
        raise IndexUnreadable(
            f"the server of {connection.address} keeps no metadata of collections: Diptych needs Qdrant 1.16 or newer"
        )
    for name, kind in manifest.payload_fields.items():
        path, schema = field_path(name), FIELD_TYPES[kind]
        connection.ask(
            lambda client, path=path, schema=schema: client.create_payload_index(collection, path, schema, wait=True)
        )


def _clear(connection: Connection, collection: str) -> bool:
    """Delete what a build began, adding nothing to what went wrong; returns whether it was there, for all one knows."""
    try:
        was_there = connection.ask(lambda client: client.collection_exists(collection), tries=1)
        connection.ask(lambda client: client.delete_collection(collection), tries=1)
    except (OSError, ValueError):
        return True
    return was_there


def _wait_until_indexed(connection: Connection, collection: str) -> None:
    """Wait until the server has built its graphs; searches before that are exact and slow.

    Raises:
        IndexUnreachable: if the server could not; it says why.
    """
    while True:
        info = connection.ask(lambda client: client.get_collection(collection))
        if info.status == models.CollectionStatus.RED:
            raise IndexUnreachable(f"{connection.address} could not be indexed: {info.optimizer_status}")
        if info.status == models.CollectionStatus.GREEN:
            return
        connection.wait(Event(), SECONDS_BETWEEN_LOOKS)


def _switch(connection: Connection, fresh: str) -> list[str]:
    """Make the index's name that of the fresh collection, in one step; returns the one whose name it was."""
    name, earlier = connection.address.name, aliased(connection)
    put = models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=fresh, alias_name=name),
    )
    drop = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))
    steps = [put] if earlier is None else [drop, put]
    connection.ask(lambda client: client.update_collection_aliases(change_aliases_operations=steps))
    return [] if earlier is None or earlier == fresh else [earlier]


def _delete(connection: Connection, collections: list[str], *, mark: bool = False) -> None:
    """Delete collections that nobody asks for any more; one that cannot be goes with the next build, if marked."""
    for collection in collections:
        try:
            if mark:
                mark_replaced(connection, collection)
            connection.ask(lambda client, collection=collection: client.delete_collection(collection))
        except (OSError, ValueError) as error:
            _log.warning("%s is no longer used and could not be deleted: %s", collection, error)
