"""A folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path


def push(folder: Path, name: str, *, private: bool = True) -> str:
    """Upload a folder as a model; the place is made if needed.

    Args:
        folder: all of it is uploaded, in one commit.
        name: `ORGANISATION/NAME`, or `NAME` for the user's own.
        private: whether a place made now is private; one that is there stays as it is.

    Returns:
        Its address.

    Raises:
        ConnectionError: if the hub cannot be reached or refuses; the message says what to do. The folder is whole.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    from huggingface_hub.errors import HTTPError as NetworkError  # type: ignore[attr-defined]  # of the client it uses

    api = HfApi()
    try:
        address = api.create_repo(name, repo_type="model", private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Exported by Diptych")
    except HFValidationError as error:
        raise ValueError(f"--push-to-hub {name}: expected ORGANISATION/NAME ({error})") from error
    except LocalTokenNotFoundError as error:
        raise ConnectionError(_after(folder, name, "nobody is logged in: run `hf auth login` first")) from error
    except HfHubHTTPError as error:
        said = str(error).strip().splitlines()[0]
        what = (
            "the hub refused it; is the token one that may write there?" if error.response is not None else "no answer"
        )
        raise ConnectionError(_after(folder, name, f"{what} ({said})")) from error
    except (NetworkError, OSError, RuntimeError) as error:
        raise ConnectionError(_after(folder, name, f"the hub cannot be reached ({error})")) from error
    return str(address)


def _after(folder: Path, name: str, why: str) -> str:
    return (
        f"--push-to-hub {name}: {why}. The model is whole in {folder}; upload it later with `hf upload {name} {folder}`"
    )
