"""Libraries say nothing while they are asked to be quiet, and speak again afterwards."""

import logging
import warnings

import pytest

from consistency.backbone.quiet import quiet


def test_a_library_is_silent_inside_the_block_alone(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("some.library")
    library.setLevel(logging.INFO)
    with quiet("some.library"):
        library.critical("inside")
        warnings.warn("inside", UserWarning, stacklevel=1)  # an error in these tests, were it heard
    library.info("outside")
    assert [record.message for record in caplog.records] == ["outside"]
    assert library.level == logging.INFO


def test_a_library_speaks_again_after_an_error() -> None:
    library = logging.getLogger("another.library")
    with pytest.raises(ValueError, match="broken"), quiet("another.library"):
        raise ValueError("broken")
    assert library.level == logging.NOTSET
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)
