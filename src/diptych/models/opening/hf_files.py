"""A checkpoint's files, from a folder or the hub: its configuration and its weights, from safetensors alone.

No code of a checkpoint is run, and nothing pickled is opened; weights that it lacks are named, never drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diptych.models.opening.hf_families import FAMILIES


def kept_file(name: str, *files: str) -> str | None:
    """Where the first of these files is, in a folder or on the hub; None if there is none of them."""
    from transformers.utils.hub import cached_file

    for file in files:
        found = cached_file(
            name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
        if found is not None:
            return found
    return None


def config_of(name: str) -> Any:
    """A checkpoint's configuration.

    Raises:
        ValueError: if there is no such folder or place on the hub, or its `model_type` is unknown.
    """
    from transformers import AutoConfig

    if not Path(name).is_dir() and (name.startswith(("/", ".", "~")) or name.count("/") > 1 or not name):
        raise ValueError(f"there is no folder {name!r}; hf: takes a folder or a name on the hub, as OWNER/MODEL")
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"cannot open hf:{name}: {error}; supported are {', '.join(FAMILIES)}") from error


def weights_of(name: str, cls: Any) -> tuple[Any, set[str]]:
    """A checkpoint's module in float32, and the names of weights that it has not.

    Args:
        name: of the checkpoint.
        cls: the class in `transformers`.

    Raises:
        ValueError: if its weights are not safetensors.
    """
    try:
        with _quiet():  # what is missing is reported here, and what is left over is of other tasks
            module, said = cls.from_pretrained(name, use_safetensors=True, output_loading_info=True)
    except (OSError, ValueError) as error:
        pickled = kept_file(name, "pytorch_model.bin", "pytorch_model.bin.index.json")
        if pickled is not None:
            raise ValueError(
                f"hf:{name} has its weights in a pickle ({Path(pickled).name}), which is never opened; save it again "
                "with transformers' save_pretrained, or give a revision with model.safetensors"
            ) from error
        raise ValueError(f"cannot open the weights of hf:{name}: {error}") from error
    return module.float().eval(), set(said["missing_keys"])


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of `transformers` below errors."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
