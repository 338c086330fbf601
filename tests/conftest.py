"""What many tests start from: a small drawn data set, and the command line run in this process."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.commands import Ran, Run
from tests.builders.object_store import Store, running_store
from tests.builders.trained import train

# A shell's background jobs ignore SIGINT and hand that on; the commands that tests interrupt must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that at the end no process is alone with one of them."""
    items.sort(key=lambda item: not (item.path.is_relative_to(HERE / "promises") or item.path.name == "test_ray.py"))


@pytest.fixture(scope="session", autouse=True)
def _runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs without --out, stored objects and the user's key stay out of the checkout and of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOCLIP_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("KOCLIP_MIRROR", str(tmp_path_factory.mktemp("mirror")))
        yield


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with combined_data.csv and image/, 60 drawn images."""
    from demo.dataset import write_demo

    out = tmp_path_factory.mktemp("demo")
    write_demo(out, seed=7, images=60)
    return out


@pytest.fixture(scope="session")
def trained(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/heads, runs/similarity, runs/audit, and their cache; not to be changed."""
    return train(small_demo, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, as `main()` does, and catch what it writes."""
    from cli import main

    def run_command(*arguments: object) -> Ran:
        capfd.readouterr()
        code = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["cli.py", *map(str, arguments)])
            try:
                main()
            except SystemExit as stop:
                code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run_command


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """An S3 server on this machine, to which s3:// leads."""
    with running_store() as running:
        yield running
