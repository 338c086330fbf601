"""The pages of the app, and the requests that they send for what they show."""

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, File, Form, Query, UploadFile
from fastapi.responses import Response

from koclip_consistency.scoring.scorer import Scorer
from koclip_consistency.service.annotations import Annotations, Lines
from koclip_consistency.service.api import Service
from koclip_consistency.service.collection import Filters
from koclip_consistency.service.study import Study, check_method
from koclip_consistency.service.worker import Job

PAGES = ("/", "/data", "/hashtag", "/post", "/doubtful", "/map", "/annotate", "/agreement", "/runs")
TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html", "svg": "image/svg+xml"}
SHARED = "report.css"  # the look of the report
PICTURES = {"cache-control": "private, max-age=600"}

Text = Annotated[str, Query(max_length=1000)]
Number = Annotated[int, Query(ge=0)]
Count = Annotated[int, Query(ge=1)]
Names = Annotated[list[str], Query(min_length=1, max_length=50)]


def add_pages(api: FastAPI, service: Service, study: Study, annotations: Annotations) -> None:
    """Add the app's pages to the application of `serve`."""
    # Not include_router, which would leave the making of them to the first request.
    api.routes.extend(_requests(service, study).routes)
    api.routes.extend(_annotation_requests(study, annotations).routes)
    for path in PAGES:
        api.get(path, include_in_schema=False)(_answering("index.html"))
    for name in static_names():
        api.get(f"/static/{name}", include_in_schema=False)(_answering(name))


def static_names() -> list[str]:
    """The files that pages load."""
    inside = [each.name for each in files("koclip_consistency.service").joinpath("static").iterdir()]
    return sorted({name for name in inside if name.rpartition(".")[2] in TYPES} | {SHARED})


def static_file(name: str) -> bytes:
    """A file that pages load."""
    place = files("consistency.report").joinpath("templates") if name == SHARED else None
    return (place or files("koclip_consistency.service").joinpath("static")).joinpath(name).read_bytes()


def _answering(name: str) -> Callable[[], Response]:
    kind = TYPES[name.rpartition(".")[2]]

    def answer() -> Response:
        return Response(static_file(name), media_type=f"{kind}; charset=utf-8")

    return answer


def _requests(service: Service, study: Study) -> APIRouter:
    """What the pages ask for; every answer is JSON, but for images."""
    router = APIRouter(prefix="/api", include_in_schema=False)

    @router.get("/about")
    def about() -> dict[str, Any]:
        default = service.shelf.default() or (None, None)
        runs = [{"name": each.name, "systems": each.systems} for each in service.shelf.runs() if each.systems]
        chosen = {"default_run": default[0], "default_system": default[1]}
        return {**study.about(), **chosen, "runs": runs, "status": service.status}

    @router.get("/rows")
    def rows(
        run: Text = "",
        system: Text = "",
        text: Text = "",
        label: Number = 0,
        predicted: Number = 0,
        split: Text = "",
        error: Number = 0,
        doubt: bool = False,
        repeats: Text = "any",
        order: Text = "table",
        page: Number = 1,
    ) -> dict[str, Any]:
        filters = Filters(text, label, predicted, split, error, doubt, repeats, order)
        return study.collection.page(filters, study.opinions(run, system), page)

    @router.get("/hashtag")
    def hashtag(name: Text, run: Text = "", system: Text = "") -> dict[str, Any]:
        found, said = study.collection.of_hashtag(name), study.opinions(run, system)
        return {
            "rows": study.collection.described(found, said),
            "names": [study.collection.names[at] for at in study.collection.image[found].tolist()],
            "summary": study.collection.summary(found, said),
        }

    @router.get("/post")
    def post(image: Number, run: Text = "", system: Text = "") -> dict[str, Any]:
        found, said = study.collection.of_image(image), study.opinions(run, system)
        return {
            "name": study.collection.names[image],
            "rows": study.collection.described(found, said),
            "summary": study.collection.summary(found, said),
        }

    @router.get("/file/{number}")
    def file(number: int) -> Response:
        return Response(study.original(number), media_type="application/octet-stream")

    @router.get("/image/{number}")
    def image(number: int, size: int = 240) -> Response:
        return Response(study.image(number, size), media_type="image/jpeg", headers=PICTURES)

    @router.get("/health")
    def health() -> dict[str, Any]:
        _ = study.collection
        return study.background.ask("health", study.health)

    @router.get("/map")
    def points(run: Text = "", system: Text = "", method: Text = "pca") -> dict[str, Any]:
        loading = service.shelf.loading(run or None, system or None)
        by = check_method(method)
        _ = study.collection
        asked = Job(loading, lambda scorer: scorer)

        def work() -> dict[str, Any]:
            scorer: Scorer = service.worker.submit(asked).result()
            return study.points(scorer, by)

        return study.background.ask(("map", loading.args, by), work)

    @router.get("/runs")
    def runs() -> dict[str, Any]:
        return {"titles": study.titles, "runs": study.runs()}

    @router.get("/compare")
    def compare(run: Names) -> dict[str, Any]:
        return study.background.ask(("compare", *run), lambda: study.compare(run))

    @router.get("/report")
    def report(run: Names) -> Response:
        headers = {"content-disposition": 'attachment; filename="report.html"'}
        return Response(study.report(run), media_type="text/html; charset=utf-8", headers=headers)

    @router.post("/why")
    async def why(
        image: Annotated[UploadFile, File()],
        hashtag: Annotated[str, Form(max_length=1000)],
        run: Annotated[str | None, Form()] = None,
        system: Annotated[str | None, Form()] = None,
    ) -> dict[str, Any]:
        data = await image.read()
        loading = await asyncio.to_thread(service.shelf.loading, run, system)
        name = loading.args[0]
        await asyncio.to_thread(study.learned, name)  # which may read the table: not in the thread of the models
        job = Job(loading, lambda scorer: study.facts(scorer, name, data, hashtag), (data,))
        found: dict[str, Any] = await service.ask(job)
        return found

    @router.post("/explain")
    async def explained(
        image: Annotated[UploadFile, File()],
        hashtag: Annotated[str, Form(max_length=1000)],
        others: Annotated[list[str] | None, Form()] = None,
        run: Annotated[str | None, Form()] = None,
        system: Annotated[str | None, Form()] = None,
    ) -> Response:
        data, more = await image.read(), service.hashtags(others or [])
        loading = await asyncio.to_thread(service.shelf.loading, run, system)
        scorer: Scorer = await service.ask(Job(loading, lambda scorer: scorer))
        drawn = await asyncio.wrap_future(study.explaining.submit(study.map_of, scorer, data, hashtag, more))
        return Response(drawn, media_type="image/png")

    return router


def _annotation_requests(study: Study, annotations: Annotations) -> APIRouter:
    """What the pages Annotate and Agreement ask for."""
    router = APIRouter(prefix="/api", include_in_schema=False)

    @router.get("/annotate")
    def annotate() -> dict[str, Any]:
        return annotations.about()

    @router.get("/annotate/queue")
    def queue(
        name: Text, kind: Text = "random", audit: Text = "", seed: Number = 42, limit: Count | None = None
    ) -> dict[str, Any]:
        return annotations.queue(name, kind, audit, seed, limit)

    @router.post("/annotate/answers")
    def answers(told: Lines) -> dict[str, Any]:
        return annotations.save(told)

    @router.get("/annotate/others")
    def others(name: Text, row: Number, run: Text = "", system: Text = "", unanswered: bool = False) -> dict[str, Any]:
        return annotations.others(name, row, run, system, unanswered)

    @router.get("/raters")
    def raters() -> dict[str, Any]:
        return annotations.raters()

    @router.get("/agreement")
    def agreement(rater: Names, run: Text = "") -> dict[str, Any]:
        asked = ("agreement", *rater, run, annotations.state())
        return study.background.ask(asked, lambda: annotations.agreement(rater, run))

    return router
