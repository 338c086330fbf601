"""The queue and its batches, with real scorers."""

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError, InputError
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.scorer import Scorer
from koclip_consistency.service.worker import BATCH, Busy, Job, Worker


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)


def scorer_of(backbone: Backbone) -> Scorer:
    """The cosine alone."""
    return Scorer("cosine", None, WarmEncoder(lambda: backbone), lambda inputs, source: pytest.fail("no table"))


def test_jobs_of_one_scorer_are_encoded_together(backbone: Backbone, small_demo: Path) -> None:
    passes: list[tuple[int, int]] = []

    class Noted(Scorer):
        def remember(self, images, hashtags, limits=None) -> None:  # type: ignore[no-untyped-def]
            passes.append((len(images), len(hashtags)))
            super().remember(images, hashtags, limits)

    scorer = Noted("cosine", None, WarmEncoder(lambda: backbone), lambda inputs, source: pytest.fail("no table"))
    files = [path.read_bytes() for path in sorted((small_demo / "image").iterdir())[:5]]
    expected = [
        scorer_of(backbone).answer(data, [f"말{n}", "바다"]).similarity.tolist() for n, data in enumerate(files)
    ]
    started, go = threading.Event(), threading.Event()

    def held() -> Scorer:
        started.set()
        go.wait(60)
        return scorer

    worker = Worker()
    worker.submit(Job(held, lambda each: None))
    started.wait(60)
    jobs = []
    for number, data in enumerate(files):
        asked = [f"말{number}", "바다"]
        jobs.append(Job(lambda: scorer, lambda s, d=data, a=asked: s.answer(d, a).similarity.tolist(), (data,), asked))
        worker.submit(jobs[-1])
    go.set()
    found = [job.done.result(60) for job in jobs]
    worker.close()
    assert passes == [(0, 0), (5, 10)]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_a_full_queue_is_busy_and_what_is_queued_is_answered(backbone: Backbone) -> None:
    scorer = scorer_of(backbone)
    started, go = threading.Event(), threading.Event()

    def held() -> Scorer:
        started.set()
        go.wait(60)
        return scorer

    worker = Worker(most=2 * BATCH)
    first = worker.submit(Job(held, lambda each: "first"))
    started.wait(60)
    queued = [worker.submit(Job(lambda: scorer, lambda each, n=n: n)) for n in range(2 * BATCH)]
    with pytest.raises(Busy):
        worker.submit(Job(lambda: scorer, lambda each: None))
    cancelled = queued.pop()
    cancelled.cancel()
    go.set()
    assert first.result(60) == "first"
    assert [each.result(60) for each in queued] == list(range(2 * BATCH - 1))
    worker.close()
    with pytest.raises(CancelledError):
        cancelled.result(0)


def test_an_error_is_that_of_its_job_alone(backbone: Backbone, small_demo: Path) -> None:
    scorer, image = scorer_of(backbone), sorted((small_demo / "image").iterdir())[0].read_bytes()
    worker = Worker()

    def no_run() -> Scorer:
        raise InputError("no such run")

    jobs = [
        Job(lambda: scorer, lambda s: s.answer(b"text", ["바다"]), (b"text",), ["바다"]),
        Job(no_run, lambda s: pytest.fail("answered")),
        Job(lambda: scorer, lambda s: 1 / 0),
        Job(lambda: scorer, lambda s: len(s.answer(image, ["바다"]).rows), (image,), ["바다", " "]),
    ]
    for job in jobs:
        worker.submit(job)
    assert "the image cannot be scored" in str(jobs[0].done.exception(60))
    assert str(jobs[1].done.exception(60)) == "no such run"
    assert isinstance(jobs[2].done.exception(60), ZeroDivisionError)
    assert jobs[3].done.result(60) == 1
    worker.close()


def test_a_model_that_cannot_be_loaded_fails_every_job(small_demo: Path) -> None:
    def broken() -> Backbone:
        raise BackboneError("the model is damaged")

    image = sorted((small_demo / "image").iterdir())[0].read_bytes()
    scorer = Scorer("cosine", None, WarmEncoder(broken), lambda inputs, source: pytest.fail("no table"))
    worker = Worker()
    jobs = [Job(lambda: scorer, lambda s: s.answer(image, ["바다"]), (image,), ["바다"]) for _ in range(3)]
    for job in jobs:
        worker.submit(job)
    assert [str(job.done.exception(60)) for job in jobs] == ["the model is damaged"] * 3
    worker.close()
