"""The manifest of an index on a cluster: metadata of the collection that holds it, found by an alias.

An index `photos` is an alias of a collection `photos--20260131T120000-1a2b3c4d`. The metadata say what
`diptych.search.manifest` says of a folder, so that the same is refused; they need Qdrant 1.16.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from qdrant_client import QdrantClient

from diptych.search.errors import IndexUnreadable
from diptych.search.manifest import Manifest
from diptych.search.remote_client import OPENING_TRIES, Connection
from diptych.search.spaces import Space

KEY = "diptych"
FORMAT = 1
_KEPT = ("checkpoint", "created", "sources", "payload_fields", "state")


def stamped(name: str) -> str:
    """A new name for a collection of the index `name`, that no other has."""
    return f"{name}--{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def is_stamped(collection: str, name: str) -> bool:
    """Whether a collection has a name that `stamped` made for the index `name`.

    Example:
        >>> is_stamped("photos--20260131T120000-1a2b3c4d", "photos"), is_stamped("photos--old", "photos")
        (True, False)
    """
    return re.fullmatch(re.escape(name) + r"--\d{8}T\d{6}-[0-9a-f]{8}", collection) is not None


def to_metadata(manifest: Manifest, name: str) -> dict[str, Any]:
    """What is kept with the collection of the index `name`."""
    found = asdict(manifest)
    kept = {key: found[key] for key in ("spaces", *_KEPT)}
    return {KEY: {"format": FORMAT, "name": name, "writable": manifest.live is not None, **kept}}


def read_manifest(connection: Connection, collection: str) -> Manifest:
    """The manifest of the index in a collection, whatever its state; its count is 0.

    Raises:
        IndexUnreadable: if the collection is not an index, is damaged, or a newer Diptych made it.
        IndexUnreachable, PermissionError: as `Connection.ask`.
    """
    place = connection.address
    info = connection.ask(lambda client: client.get_collection(collection), tries=OPENING_TRIES)
    found = (info.config.metadata or {}).get(KEY)
    if not isinstance(found, Mapping) or type(found.get("format")) is not int:
        raise IndexUnreadable(f"{place} is a collection that Diptych did not make: it has no metadata of an index")
    if found["format"] > FORMAT:
        raise IndexUnreadable(
            f"{place} has format {found['format']}, this Diptych reads up to {FORMAT} of a cluster; "
            f"upgrade Diptych, or rebuild it with `diptych index`"
        )
    try:
        return _parse(found, collection)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise IndexUnreadable(
            f"the metadata of {place} are damaged ({error!r}); rebuild it with `diptych index`"
        ) from error


def aliased(connection: Connection) -> str | None:
    """The collection that the index's name is an alias of; None if there is no such alias."""
    return _aliases(connection).get(connection.address.name)


def leftovers(connection: Connection) -> list[str]:
    """Collections that a killed build of the index left: half filled, or replaced and not deleted yet.

    One that is whole and has no alias is none of them: it may have been restored from a snapshot.
    """
    kept = set(_aliases(connection).values())
    found = connection.ask(lambda client: client.get_collections(), tries=OPENING_TRIES).collections
    ours = [one.name for one in found if is_stamped(one.name, connection.address.name) and one.name not in kept]
    return [name for name in ours if _state(connection, name) in ("building", "replaced")]


def mark_replaced(connection: Connection, collection: str) -> None:
    """Let any later build delete a collection that has been replaced."""
    info = connection.ask(lambda client: client.get_collection(collection))
    marked = {KEY: {**(info.config.metadata or {}).get(KEY, {}), "state": "replaced"}}
    connection.ask(lambda client: client.update_collection(collection, metadata=marked))


def _state(connection: Connection, collection: str) -> object:
    """The state in a collection's metadata, if it is an index's."""
    info = connection.ask(lambda client: client.get_collection(collection), tries=OPENING_TRIES)
    found = (info.config.metadata or {}).get(KEY)
    return found.get("state") if isinstance(found, Mapping) else None


def named(connection: Connection) -> str | None:
    """The collection behind the index's name, be that an alias or, as after a restored snapshot, its own."""
    name = connection.address.name
    collection = aliased(connection)
    if collection is not None:
        return collection
    return name if connection.ask(lambda client: client.collection_exists(name), tries=OPENING_TRIES) else None


def _aliases(connection: Connection) -> dict[str, str]:
    """Every alias of the cluster, with its collection."""

    def ask(client: QdrantClient) -> dict[str, str]:
        return {one.alias_name: one.collection_name for one in client.get_aliases().aliases}

    return connection.ask(ask, tries=OPENING_TRIES)


def _parse(found: Mapping[str, Any], collection: str) -> Manifest:
    """A manifest from metadata."""
    for name in ("checkpoint", "created", "sources"):
        if not isinstance(found[name], str):
            raise ValueError(f"{name} is not a text")
    if found["state"] not in ("building", "ready"):
        raise ValueError(f"unknown state {found['state']!r}")
    spaces = {name: Space(**space) for name, space in found["spaces"].items()}
    manifest = Manifest(spaces, **{name: found[name] for name in _KEPT})
    return replace(manifest, live=collection) if found["writable"] else replace(manifest, sealed=(collection,))
