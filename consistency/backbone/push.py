"""Pushes a folder to the Hugging Face hub: private unless the user says otherwise, with the hub's own login."""

from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx, validate_repo_id  # type: ignore[attr-defined]  # lazy names

from consistency.backbone.quiet import quiet
from consistency.errors import InputError, RunError, one_line


def check_push(model_id: str) -> None:
    """Check what can be checked of a push before the folder is written.

    Raises
    ------
    InputError
        If the id is invalid, or nobody is logged in.
    """
    try:
        validate_repo_id(model_id)
    except HFValidationError:
        raise InputError(f"{model_id!r} is no valid id of the hub: expected one such as name/my-scorer") from None
    if "/" not in model_id:
        raise InputError(f"{model_id!r} does not say whose it is: expected an id such as name/my-scorer")
    if get_token() is None:
        raise InputError("nobody is logged in to the hub: run 'hf auth login', or set HF_TOKEN")


def push(folder: Path, model_id: str, *, public: bool = False) -> str:
    """Create a model repository on the hub, if it does not exist, and upload a folder to it.

    Parameters
    ----------
    folder : Path
        The folder.
    model_id : str
        Where to, for example "name/my-scorer".
    public : bool
        Whether everybody may see it.

    Returns
    -------
    str
        Address of the repository.

    Raises
    ------
    InputError
        If `check_push` refuses, or the repository exists and is public although `public` is False.
    RunError
        If the hub cannot be reached or refuses.
    """
    check_push(model_id)
    api = HfApi()
    with quiet("huggingface_hub"):
        try:
            address = api.create_repo(model_id, private=not public, exist_ok=True)
            if not public and not api.model_info(model_id).private:
                raise InputError(f"{model_id} exists on the hub and is public: give --public, or another id")
            api.upload_folder(
                repo_id=model_id, folder_path=folder, commit_message="Exported by koclip-consistency", repo_type="model"
            )
        except (OSError, httpx.HTTPError, HfHubHTTPError, OfflineModeIsEnabled, ValueError) as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            reason = f"status {status}" if status else one_line(error)[:160]
            raise RunError(
                f"{folder} was written but not pushed: {constants.ENDPOINT} answered with {reason}; check the id and "
                f"the rights of your token, then run 'hf upload {model_id} {folder}'"
            ) from error
    return str(address)
