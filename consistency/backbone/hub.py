"""Downloads a model from the Hugging Face hub into its cache, or reports within seconds why it cannot."""

import errno
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import httpx, tqdm, validate_repo_id  # type: ignore[attr-defined]  # lazy names

from consistency.backbone.libraries import MARKS, check_configuration, small_files, weight_names, weight_paths
from consistency.backbone.model_folder import is_small_file
from consistency.backbone.quiet import quiet
from consistency.errors import BackboneError, ConsistencyError, StorageError, one_line, os_reason

PATIENCE = 2.5  # seconds for the hub's first answer; with start-up, an unreachable hub is reported within 5 s


def fetch(model_id: str, revision: str | None) -> Path:
    """Download a model unless the hub's cache already holds it.

    If the hub does not answer, a branch or tag means the commit that the cache last saw for it. Small files are
    downloaded first, so that an unsupported model is refused before its weights are downloaded, and weights in the
    cache imply that the other files are there too.

    Parameters
    ----------
    model_id : str
        Hugging Face id, such as "openai/clip-vit-base-patch32".
    revision : str or None
        Branch, tag or commit; None means main.

    Returns
    -------
    Path
        The folder `.../snapshots/<commit>` of the hub's cache.

    Raises
    ------
    BackboneError
        If the id is invalid, the hub cannot provide the model, or the model is not supported.
    StorageError
        If the cache cannot be written.
    """
    try:
        validate_repo_id(model_id)
    except HFValidationError:
        raise BackboneError(
            f"{model_id!r} is neither a folder nor a valid Hugging Face id; expected clip, koclip, tiny, "
            "a folder, or an id such as openai/clip-vit-base-patch32"
        ) from None
    cached = held(model_id, revision)
    if cached and cached.name == revision:
        return cached  # a commit never changes
    with quiet("huggingface_hub"):
        try:
            info = _ask(model_id, revision)
        except RevisionNotFoundError:
            raise BackboneError(
                f"{model_id} has no revision {revision!r} on {constants.ENDPOINT}; expected a branch, a tag or a commit"
            ) from None
        except (OSError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            if cached:
                return cached
            raise _explain(error, model_id, revision, begun=False) from error
        if cached and cached.name == info.sha:
            return cached
        try:
            return _download(model_id, revision, [sibling.rfilename for sibling in info.siblings or ()])
        except (OSError, httpx.HTTPError) as error:
            raise _explain(error, model_id, revision, begun=True) from error


def fetch_configuration(model_id: str) -> Path:
    """Folder of the hub's cache with the `config.json` of a model, downloaded if necessary, without weights.

    Raises
    ------
    BackboneError
        If the hub cannot provide it.
    """
    found = try_to_load_from_cache(model_id, "config.json")
    if isinstance(found, str):
        return Path(found).parent
    with quiet("huggingface_hub"):
        try:
            _ask(model_id, None)  # fails in time if the hub cannot be reached
            return _snapshot(model_id, None, ["config.json"])
        except (OSError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _explain(error, model_id, None, begun=False) from error


def _ask(model_id: str, revision: str | None) -> ModelInfo:
    """Ask the hub for the model's files, for at most PATIENCE seconds; name resolution has no time limit of its own."""
    answers: queue.Queue[ModelInfo | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(HfApi().model_info(model_id, revision=revision, timeout=PATIENCE))
        except Exception as error:  # raised again in the calling thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        raise TimeoutError(f"no answer within {PATIENCE:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _download(model_id: str, revision: str | None, names: list[str]) -> Path:
    small = [name for name in names if is_small_file(name)]
    if not any(name in small for name in MARKS):
        weights_only = any(name.startswith("open_clip") for name in names)
        raise BackboneError(
            f"{model_id} has no {' or '.join(MARKS)} at its top level; expected a model of transformers, open_clip or "
            "sentence-transformers" + "; docs/backbones.md says how to make a folder of it" * weights_only
        )
    folder = _snapshot(model_id, revision, small)
    try:
        if below := set(small_files(folder, names)).difference(small):
            folder = _snapshot(model_id, revision, sorted(below))
        check_configuration(folder)
        weights = weight_names(folder, names)
    except BackboneError as error:
        raise BackboneError(str(error).replace(str(folder), model_id)) from error
    return _snapshot(model_id, revision, weights)


def _snapshot(model_id: str, revision: str | None, names: list[str]) -> Path:
    return Path(snapshot_download(model_id, revision=revision, allow_patterns=names, tqdm_class=_Bar))


def held(model_id: str, revision: str | None) -> Path | None:
    """The folder of a model that the hub's cache holds in full, None if it does not; the hub is not asked."""
    found = [try_to_load_from_cache(model_id, name, revision=revision) for name in MARKS]
    folder = next((Path(path).parent for path in found if isinstance(path, str)), None)
    if folder is None:
        return None
    try:
        check_configuration(folder)
        weight_paths(folder)
    except BackboneError:
        return None
    return folder


def _explain(error: Exception, model_id: str, revision: str | None, *, begun: bool) -> ConsistencyError:
    """The error to report; `begun` says whether the download had started."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError | TimeoutError):
        cure = "free some space and run the command again" if error.errno == errno.ENOSPC else "make it writable"
        return StorageError(
            f"{model_id} cannot be stored in {constants.HF_HUB_CACHE}: {os_reason(error)}; {cure}, "
            "or set HF_HOME to another folder"
        )
    if begun and not isinstance(error, RepositoryNotFoundError):
        return BackboneError(
            f"the download of {model_id} from {constants.ENDPOINT} was interrupted ({one_line(error)[:120]}); "
            "run the command again to continue it: downloaded files are kept"
        )
    return BackboneError(_refusal(error, model_id, revision))


def _refusal(error: Exception, model_id: str, revision: str | None) -> str:
    """Why the hub does not provide `model_id`, and what to do."""
    endpoint = constants.ENDPOINT
    if isinstance(error, GatedRepoError):
        return (
            f"{model_id} is gated: accept its terms at {endpoint}/{model_id}, then log in with 'hf auth login' "
            "or set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{endpoint} has no model {model_id}, and there is no folder of that name; expected clip, koclip, "
            "tiny, a folder or a Hugging Face id (a private one needs 'hf auth login')"
        )
    if isinstance(error, OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE forbids connecting to"
    elif isinstance(error, HfHubHTTPError):
        reason = f"there was status {error.response.status_code} from"
    elif isinstance(error, TimeoutError | httpx.TimeoutException):
        reason = f"there was no answer within {PATIENCE:g} s from"
    elif isinstance(error, ValueError):
        reason = "there was no valid answer from"
    else:
        reason = "there is no connection to"
    command = f"hf download {model_id}" + (f" --revision {revision}" if revision else "")
    return (
        f"{model_id} is not available: there is no such folder, {constants.HF_HUB_CACHE} does not hold all of it, and "
        f"{reason} {endpoint}; download it beforehand with '{command}', or name a local folder"
    )


class _Bar(tqdm):
    """Progress bars of the hub's client, shown on terminals only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | {"disable": not sys.stderr.isatty()}))
