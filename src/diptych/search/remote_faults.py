"""What can go wrong between here and a cluster, told as a Python program expects it.

    no answer, 408, 429, 5xx     asked again, then `IndexUnreachable`
    401, 403                     `PermissionError`
    404                          `CollectionMissing`, an `IndexUnreadable`
    413, or 400 of that meaning  `TooLarge`
    no room on the server        `OSError` with `errno.ENOSPC`
    any other refusal            `Refused`, a `ValueError`

The words are the server's own, cut short; a key is in none of them.
"""

import errno
import json

from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from diptych.search.address import KEY
from diptych.search.errors import IndexUnreachable, IndexUnreadable

_PASSING = {408, 429, 500, 502, 503, 504}
_LONGEST = 300


class CollectionMissing(IndexUnreadable):
    """The cluster has no collection of that name, or no longer."""


class Refused(ValueError):
    """The cluster finds something wrong with a request."""


class TooLarge(Refused):
    """The cluster does not take so much in one request."""


def is_passing(error: Exception) -> bool:
    """Whether the same question may be answered if it is asked again."""
    if _is_full(error):
        return False
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _PASSING
    if isinstance(error, ResponseHandlingException):
        return not isinstance(error.source, ValueError)  # an answer that is not understood comes again
    # The client raises a plain `QdrantException` if it cannot read for how long the server wants to be left alone.
    return isinstance(error, QdrantException)


def asked_to_wait(error: Exception) -> float:
    """For how many seconds the server wants to be left alone; 0 if it does not say."""
    return float(error.retry_after_s) if isinstance(error, ResourceExhaustedResponse) else 0.0


def told(error: Exception, place: object) -> Exception:
    """What to raise for an error of the client; itself if there is nothing better to say.

    Args:
        error: as the client raised it.
        place: address that was spoken to.
    """
    said = _said(error)
    if _is_full(error):
        return OSError(
            errno.ENOSPC, f"no space left on the server ({said}); add disks or nodes, then go on", str(place)
        )
    if isinstance(error, ResponseHandlingException):
        if isinstance(error.source, ValueError):
            return IndexUnreadable(f"what answers at {place} is not a Qdrant server that this client understands")
        return IndexUnreachable(f"cannot reach {place} ({said}): is the server up, and the address right?")
    if isinstance(error, QdrantException):
        return IndexUnreachable(f"{place} is overloaded ({said}); try again later, or with fewer rows at once")
    if not isinstance(error, UnexpectedResponse):
        return error
    code = error.status_code
    if code in (401, 403):
        return PermissionError(f"{place} refuses the key ({code}: {said}); put one that may do this into {KEY}")
    if code == 404:
        return CollectionMissing(f"there is no index at {place} ({said}); make one with `diptych index`")
    if code == 413 or (code == 400 and "larger than allowed" in said):
        return TooLarge(f"{place} does not take so much at once: {said}")
    if code in _PASSING:
        return IndexUnreachable(f"{place} cannot serve ({code}: {said}); see the server's log")
    return Refused(f"{place} refuses ({code}): {said}")


def _said(error: Exception) -> str:
    """The server's own words, or the system's."""
    if isinstance(error, ResponseHandlingException):
        return f"{type(error.source).__name__}: {error.source}"[:_LONGEST]
    if isinstance(error, UnexpectedResponse):
        try:
            return str(json.loads(error.content)["status"]["error"])[:_LONGEST]
        except (ValueError, KeyError, TypeError):
            return error.content.decode("utf-8", "replace")[:_LONGEST] or error.reason_phrase
    return str(error)[:_LONGEST]


def _is_full(error: Exception) -> bool:
    """Whether the server has no room left; it says so in words, with status 500, or 507."""
    if not isinstance(error, UnexpectedResponse):
        return False
    return error.status_code == 507 or "no space left" in _said(error).lower()
