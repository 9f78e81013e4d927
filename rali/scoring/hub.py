"""Files of models on the Hugging Face Hub, from the local cache or the network.

`HF_HUB_OFFLINE`, `HF_HOME` and the token of `hf auth login` are honoured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rali.errors import HubError, InputError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_hub_id(model: str) -> bool:
    """Whether `model` has the form owner/name."""
    return _HUB_ID.fullmatch(model) is not None


def download(hub_id: str, name: str, *, revision: str | None = None) -> Path:
    """The local copy of the file `name` of the repository `hub_id`.

    Raises:
        InputError: the repository has no such file.
        HubError: it cannot be downloaded; the message says why.
    """
    import huggingface_hub

    with _explained(hub_id, name, revision):
        return Path(huggingface_hub.hf_hub_download(hub_id, name, revision=revision))


def download_folder(hub_id: str, folder: str = "", *, revision: str | None = None) -> Path:
    """The local copy of a folder of the repository `hub_id`; without one, of all of it.

    Raises:
        InputError: it cannot be downloaded; the message says why.
    """
    import huggingface_hub

    patterns = f"{folder}/*" if folder else None
    with _explained(hub_id, folder, revision):
        snapshot = huggingface_hub.snapshot_download(
            hub_id, revision=revision, allow_patterns=patterns
        )
    if not (place := Path(snapshot) / folder).is_dir():
        raise InputError(f"{hub_id} on the Hugging Face Hub has no {folder}.")
    return place


@contextmanager
def _explained(hub_id: str, name: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub import errors

    kind: type[InputError] = HubError
    try:
        yield
        return
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        cause: Exception = error
        if _known_to_lack(hub_id, name, revision):
            kind, why = InputError, f"it has no {name}"
        else:
            why = (
                f"{name or 'it'} is not in the local cache, and the Hub cannot be reached (or "
                "HF_HUB_OFFLINE is on)"
            )
    except errors.RevisionNotFoundError as error:
        why, cause = f"it has no revision {revision}", error
    except errors.EntryNotFoundError as error:
        kind, why, cause = InputError, f"it has no {name}", error
    except errors.RepositoryNotFoundError as error:
        why, cause = "there is no such repository (or it is private: type hf auth login)", error
    except Exception as error:  # the network stack has no common base
        why, cause = (str(error).strip() or type(error).__name__).splitlines()[0], error
    raise kind(
        f"There is no folder {hub_id} here, and as a model of the Hugging Face Hub it cannot be "
        f"loaded: {why}."
    ) from cause


def _known_to_lack(hub_id: str, name: str, revision: str | None) -> bool:
    """Whether the Hub once said, and the cache remembers, that there is no such file."""
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(hub_id, name, revision=revision)
    return found is not None and not isinstance(found, str)
