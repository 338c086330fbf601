"""Where a command works."""

import pytest

from consistency.errors import InputError
from consistency.options import Engine
from koclip_consistency.workflows.engine import cluster_of


def test_the_engine_is_this_process_unless_ray_is_asked_for() -> None:
    assert cluster_of(Engine()) is None
    with pytest.raises(InputError, match="--num-workers needs --engine ray"):
        cluster_of(Engine(num_workers=2))
