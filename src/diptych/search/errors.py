"""What can be wrong with an index as a whole; faults of single rows are plain `ValueError`s."""

from diptych.data.replacing import FolderInUse as IndexInUse

__all__ = [
    "IndexInUse",
    "IndexSealed",
    "IndexUnreachable",
    "IndexUnreadable",
    "SealingFailed",
    "WrongCheckpoint",
]


class IndexUnreadable(ValueError):
    """The folder is no index, is damaged, was left half built, or was made by a newer Diptych."""


class WrongCheckpoint(ValueError):
    """The vectors of the index were made by another checkpoint than the one that asks."""

    def __init__(self, folder: object, *, kept: str, given: str) -> None:
        super().__init__(
            f"{folder} holds vectors of checkpoint {kept[:12]}, but the query comes from checkpoint {given[:12]}; "
            f"rebuild it with `diptych index`, or query with the checkpoint that made it"
        )
        self.kept, self.given = kept, given


class IndexSealed(RuntimeError):
    """A write to an index that was opened to be read."""


class SealingFailed(RuntimeError):
    """The live shard could not be sealed. No row is lost: it is searched as before, and sealed another time."""


class IndexUnreachable(ConnectionError):
    """The server of an index on a cluster does not answer, or answers that it cannot serve now."""
