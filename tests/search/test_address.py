"""Addresses of indexes on a cluster are read, and what is none is told without what it hides."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from search_rows import CHECKPOINT, SPACES

from diptych.search import Cluster, Index, address
from diptych.search.address import Address, cluster_address, is_address, read_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://localhost:6333/photos", Address("http://localhost:6333", "photos")),
        ("HTTPS://example.org/photos/", Address("https://example.org", "photos")),
        ("https://example.org:443/qdrant/v1/photos", Address("https://example.org:443/qdrant/v1", "photos")),
        ("http://[::1]:6333/a%20b", Address("http://[::1]:6333", "a b")),
        ("http://h/תמונות", Address("http://h", "תמונות")),
    ],
)
def test_parts_of_an_address(text: str, expected: Address) -> None:
    assert is_address(text)
    assert read_address(text) == expected == read_address(str(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://localhost:6333", "names no index: expected .*localhost:6333/photos"),
        ("http://localhost:6333/", "names no index"),
        ("http:///photos", "names no server"),
        ("http://localhost:many/photos", "is no address of an index"),
        ("http://localhost/photos?key=1", "more than an address"),
        ("http://localhost/photos#1", "more than an address"),
        ("http://localhost/a%2Fb", "'a/b' cannot name an index"),
        ("http://localhost/a:b", "'a:b' cannot name an index"),
        ("http://localhost/" + "x" * 201, "cannot name an index on a cluster: up to 200"),
        ("http://localhost/%2E%2E", "cannot name an index"),
    ],
)
def test_what_is_no_address_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_address(text)


@pytest.mark.parametrize("text", ["http://secret@localhost/photos", "https://me:secret@localhost/photos"])
def test_a_key_in_an_address_is_refused_and_never_shown(text: str) -> None:
    with pytest.raises(ValueError, match="QDRANT_API_KEY") as caught:
        Index.open(text)
    assert "secret" not in str(caught.value)


def test_folders_are_no_addresses(tmp_path: Path) -> None:
    assert not any(map(is_address, ["indexes/photos", tmp_path, "httpd/logs", "ftp://host/x"]))
    with pytest.raises(ValueError, match=r"options of a cluster were given for .*live, which is a folder"):
        Index.create(tmp_path / "live", SPACES, checkpoint=CHECKPOINT, cluster=Cluster())
    with Index.create(tmp_path / "live", SPACES, checkpoint=CHECKPOINT) as index:
        index.add(["a"], {"dense": np.ones((1, 16))}, [{}])
        assert index.folder == index.place == tmp_path / "live"


def test_without_the_client_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        assert name == "qdrant_client"
        return None

    monkeypatch.setattr(address, "find_spec", find_spec)
    monkeypatch.delitem(sys.modules, "qdrant_client")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'diptych\[cluster\]'"):
        Index.open("http://localhost:6333/photos")
    assert cluster_address("folder", None) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 0}, "shards of a cluster is a whole number of at least 1; found 0"),
        ({"replicas": True}, "replicas of a cluster.*found True"),
        ({"timeout": 1.5}, "timeout of a cluster.*found 1.5"),
        ({"batch": None}, "batch of a cluster.*found None"),
        ({"in_flight": -1}, "in_flight of a cluster.*found -1"),
        ({"replicas": 2, "consistency": 3}, "consistency of a cluster is at most its replicas; found 3 of 2"),
    ],
)
def test_options_that_make_no_sense_are_told(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cluster(**options)
    assert Cluster(shards=6, replicas=2, consistency=2, timeout=5, batch=1, in_flight=1).shards == 6
