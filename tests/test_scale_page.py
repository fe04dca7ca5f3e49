"""The compose file that `docs/scale.md` shows is one that can be read, of three nodes that find each other."""

import re
from pathlib import Path

import yaml

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"


def test_the_compose_file_is_of_three_nodes_that_find_each_other() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    compose = yaml.safe_load(block)
    services = compose["services"]
    assert list(services) == ["node1", "node2", "node3"]
    for name, service in services.items():
        words = service["command"]
        flags = dict(zip(words[1::2], words[2::2], strict=True))
        # Others reach a node by its service's name, at the port for nodes.
        assert flags.pop("--uri") == f"http://{name}:6335"
        assert flags == ({} if name == "node1" else {"--bootstrap": "http://node1:6335"})
        assert service["environment"]["QDRANT__CLUSTER__ENABLED"] == "true"
        assert service["volumes"] == [f"{name}:/qdrant/storage"] and name in compose["volumes"]
        assert not any(":6335" in port for port in service["ports"]), "it takes writes without a key"
    published = [port.split(":")[1] for service in services.values() for port in service["ports"]]
    assert published == ["6333", "6343", "6353"]
    assert "for port in 6333 6343 6353" in PAGE.read_text("utf-8"), "a snapshot is taken of every node"
