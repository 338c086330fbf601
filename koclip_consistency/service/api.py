"""The HTTP interface: scores and suggestions for an image, the runs, and whether the model is loaded."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as AnyHTTPException

from consistency.errors import ConsistencyError, InputError, StorageError
from koclip_consistency.scoring.scored import Scored, answer_columns
from koclip_consistency.scoring.scorer import Scorer, reasons_by_row
from koclip_consistency.service.guard import Limits
from koclip_consistency.service.shelf import Shelf, Shelved
from koclip_consistency.service.worker import Busy, Job, Worker

CHANCES = ("p1", "p2", "p3", "p4", "p5")
RETRY_AFTER = 1  # seconds


class Row(BaseModel):
    """The answer to one hashtag; null where the system has none."""

    hashtag: str
    score: int | None = Field(description="1 to 5")
    expected_score: float | None = Field(description="1 to 5; null for systems without probabilities")
    probabilities: list[float] | None = Field(description="of the scores 1 to 5")
    familiar: bool | None = Field(description="whether the hashtag resembles one of the training rows")
    similarity: float | None = Field(description="cosine of image and hashtag")
    why_not: str | None = Field(description="why there is no answer")


class Answer(BaseModel):
    """What a system says about an image and some hashtags."""

    system: str
    rows: list[Row]


class RunEntry(BaseModel):
    """A run that the service can answer with."""

    name: str
    command: str
    backbone: str
    systems: list[str]


class Runs(BaseModel):
    """The runs, and what answers a request that names none."""

    runs: list[RunEntry]
    default_run: str | None
    default_system: str | None


class Status(BaseModel):
    """Whether the service is up."""

    status: str


class Service:
    """What the requests share: the runs, the worker, and the limits.

    Parameters
    ----------
    shelf : Shelf
        The runs.
    worker : Worker
        Uses the models.
    limits : Limits
        Of a request.
    """

    def __init__(self, shelf: Shelf, worker: Worker, limits: Limits | None = None) -> None:
        self.shelf, self.worker, self.limits = shelf, worker, limits or Limits()
        self.first: Any = None  # loading of the model that answers by default

    def load_first(self) -> None:
        """Load the default model in the background; nothing where no run can score."""
        if default := self.shelf.default():
            self.first = self.worker.submit(Job(self.shelf.loading(*default), Scorer.load))

    @property
    def status(self) -> str:
        """ "ready", or why not yet."""
        if self.first is None or (self.first.done() and self.first.exception() is None):
            return "ready"
        return f"the model cannot be loaded: {self.first.exception()}" if self.first.done() else "loading model ..."

    async def ask(self, job: Job) -> Any:
        """The answer to a job. Raises an HTTP error if the queue is full, or the answer takes too long."""
        try:
            waiting = asyncio.wrap_future(self.worker.submit(job))
            return await asyncio.wait_for(waiting, self.limits.seconds)
        except Busy as error:
            reason = "too many requests wait already: try again in a moment"
            raise HTTPException(429, reason, {"Retry-After": str(RETRY_AFTER)}) from error
        except TimeoutError as error:
            raise HTTPException(503, f"there was no answer within {self.limits.seconds:g} s") from error

    def hashtags(self, given: Sequence[str]) -> list[str]:
        """The hashtags of a request. Raises InputError if there are too many."""
        if len(given) > self.limits.hashtags:
            raise InputError(f"{len(given)} hashtags are too many: ask about at most {self.limits.hashtags} at once")
        return list(given)


def described(scorer: Scorer, hashtags: Sequence[str], answers: Scored) -> Answer:
    """The answers as JSON has them, in the order of the hashtags."""
    columns = answer_columns(answers, len(hashtags), reasons_by_row(answers.skipped))
    rows = []
    for at, hashtag in enumerate(hashtags):
        said = {name: column[at] for name, column in columns.items()}
        chances = [said[name] for name in CHANCES]
        rows.append(
            Row(
                hashtag=hashtag,
                score=said["predicted"],
                expected_score=said["expected_score"],
                probabilities=None if chances[0] is None else chances,
                familiar=said["familiar"],
                similarity=said["similarity"],
                why_not=said["why_not"],
            )
        )
    return Answer(system=scorer.system, rows=rows)


def run_entry(shelved: Shelved) -> RunEntry:
    """A run as JSON describes it."""
    info = shelved.info
    return RunEntry(
        name=shelved.name,
        command=str(info.get("command", "")),
        backbone=str(info.get("backbone", "")),
        systems=list(shelved.systems),
    )


def create_api(service: Service) -> FastAPI:
    """The application of `serve`, to which `app` adds pages. FastAPI's own pages load foreign scripts and are off."""
    api = FastAPI(title="koclip-consistency", docs_url=None, redoc_url=None)
    _add_errors(api)

    @api.get("/healthz")
    async def healthz() -> Status:
        """Whether the service is up."""
        return Status(status="ok")

    @api.get("/readyz")
    async def readyz() -> Status:
        """Whether the model is loaded; 503 until then."""
        if service.status != "ready":
            raise HTTPException(503, service.status)
        return Status(status="ready")

    @api.get("/v1/runs")
    def runs() -> Runs:
        """The runs that can score."""
        default = service.shelf.default() or (None, None)
        found = [run_entry(shelved) for shelved in service.shelf.runs() if shelved.systems]
        return Runs(runs=found, default_run=default[0], default_system=default[1])

    @api.post("/v1/score")
    async def score(
        image: Annotated[UploadFile, File()],
        hashtags: Annotated[list[str], Form()],
        run: Annotated[str | None, Form()] = None,
        system: Annotated[str | None, Form()] = None,
    ) -> Answer:
        """Score an image with each of some hashtags, which a system that reads posts takes for one post."""
        data, asked = await image.read(), service.hashtags(hashtags)

        def answer(scorer: Scorer) -> Answer:
            return described(scorer, asked, scorer.answer(data, asked, service.worker.limits))

        loading = await asyncio.to_thread(service.shelf.loading, run, system)
        found: Answer = await service.ask(Job(loading, answer, (data,), asked))
        return found

    @api.post("/v1/suggest")
    async def suggest(
        image: Annotated[UploadFile, File()],
        n: Annotated[int, Form(ge=1)] = 10,
        words: Annotated[list[str] | None, Form()] = None,
        run: Annotated[str | None, Form()] = None,
        system: Annotated[str | None, Form()] = None,
    ) -> Answer:
        """The n hashtags that suit an image best, of `words` or of the embedding cache."""
        data, n = await image.read(), min(n, service.limits.hashtags)
        listed = None if words is None else service.hashtags(words)

        def answer(scorer: Scorer) -> Answer:
            return described(scorer, *scorer.suggestions(data, n, listed, service.worker.limits))

        loading = await asyncio.to_thread(service.shelf.loading, run, system)
        found: Answer = await service.ask(Job(loading, answer, (data,), listed or ()))
        return found

    return api


def _add_errors(api: FastAPI) -> None:
    """Every error is {"error": one line}."""

    @api.exception_handler(ConsistencyError)
    async def ours(_: Request, error: Exception) -> JSONResponse:
        status = 422 if isinstance(error, InputError) else 507 if isinstance(error, StorageError) else 500
        return JSONResponse({"error": str(error)}, status)

    @api.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
        return JSONResponse({"error": "; ".join(faults)}, 422)

    @api.exception_handler(AnyHTTPException)
    async def plain(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, AnyHTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
