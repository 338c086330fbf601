"""A missing library is one line that names the extra."""

import pytest

from consistency.errors import InputError
from koclip_consistency.screen.extra import app_extra


def test_a_missing_library_names_its_extra() -> None:
    with (
        pytest.raises(InputError, match=r"no_such_library is not installed: pip install 'koclip-consistency\[app\]'"),
        app_extra(),
    ):
        import no_such_library.inside  # type: ignore[import-not-found]  # noqa: F401
