"""The address of an index on a cluster: `http://HOST:6333/NAME`, the last part its name there.

A path of more parts leads to a server behind a proxy: `https://example.org:443/qdrant/photos`. Without a
port it is 6333. The key to the server is no part of it: it is read from `QDRANT_API_KEY`.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from diptych.search.cluster import Cluster

KEY = "QDRANT_API_KEY"

# What the server takes in the name of a collection, less the stamp that a build adds to it.
_NOT_IN_NAMES = '<>:"/\\|?*%#\0\x1f'
_LONGEST = 200


@dataclass(frozen=True)
class Address:
    """Where an index lies on a cluster.

    Attributes:
        server: address of the server, without a slash at its end.
        name: of the index: an alias there of the collection that holds it.
    """

    server: str
    name: str

    def __str__(self) -> str:
        return f"{self.server}/{self.name}"


def is_address(place: object) -> bool:
    """Whether this is the address of an index on a cluster, and no folder.

    Example:
        >>> is_address("https://example.org:6333/photos"), is_address("indexes/photos")
        (True, False)
    """
    return isinstance(place, str) and place.lower().startswith(("http://", "https://"))


def read_address(place: str | Path) -> Address:
    """The parts of an address.

    Raises:
        ValueError: if it names no server or no index, holds a key or a password, or more than an address has.

    Example:
        >>> read_address("http://localhost:6333/photos")
        Address(server='http://localhost:6333', name='photos')
    """
    text = str(place)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no address of an index: {error}") from None
    if parts.username is not None or parts.password is not None:
        # Not quoted: what is in it would come to be printed and logged.
        raise ValueError(f"the address of an index holds no key and no password: put the key into {KEY}")
    if parts.query or parts.fragment:
        raise ValueError(f"{text!r} has more than an address of an index: expected http://HOST:6333/NAME")
    prefix, _, name = parts.path.rstrip("/").rpartition("/")
    name = unquote(name)
    if not parts.hostname:
        raise ValueError(f"{text!r} names no server: expected http://HOST:6333/NAME")
    if not name:
        raise ValueError(f"{text!r} names no index: expected http://HOST:6333/NAME, as in {text.rstrip('/')}/photos")
    bad = sorted({character for character in name if character in _NOT_IN_NAMES})
    if bad or name in (".", "..") or len(name) > _LONGEST:
        raise ValueError(f'{name!r} cannot name an index on a cluster: up to {_LONGEST} characters, none of <>:"/\\|?*')
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{prefix}", name)


def cluster_address(place: str | Path, cluster: Cluster | None) -> Address | None:
    """Where on a cluster `place` is; None if it is a folder.

    Raises:
        ValueError: if it is no whole address, or it is a folder and `cluster` is given.
        ModuleNotFoundError: if the client of the cluster is not installed.
    """
    if not is_address(place):
        if cluster is not None:
            raise ValueError(f"options of a cluster were given for {place}, which is a folder and no http address")
        return None
    address = read_address(place)
    if find_spec("qdrant_client") is None:
        raise ModuleNotFoundError("an index on a cluster needs qdrant-client: pip install 'diptych[cluster]'")
    return address
