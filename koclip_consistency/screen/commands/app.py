"""`app`."""

import webbrowser
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command
from koclip_consistency.screen.extra import app_extra

if TYPE_CHECKING:
    from consistency.options import AppOptions
    from koclip_consistency.screen.console import Screen


@command(app, "app", "AppOptions", "", "--runs runs --data pairs.csv --images images --no-browser")
def open_app(options: "AppOptions", screen: "Screen") -> None:
    """Score images, look at labelled data and annotate it in the browser.

    Everything stays on this machine. Shows the runs of a folder, and the table of the newest of them unless --data
    names another. Ctrl-C ends the app. Needs the extra `app`.
    """
    with app_extra():
        from koclip_consistency.service.annotations import Annotations
        from koclip_consistency.service.api import Service, create_api
        from koclip_consistency.service.pages import add_pages
        from koclip_consistency.service.server import bind, run_server
    from koclip_consistency.scoring.loading import load_scorer
    from koclip_consistency.service.shelf import Shelf
    from koclip_consistency.service.study import Study, source_of_runs
    from koclip_consistency.service.worker import Worker

    encoding, listening = options.encoding, options.listening
    load = partial(load_scorer, cache=encoding.cache, device=encoding.device, threads=encoding.threads)
    shelf = Shelf(options.runs, load)
    source = source_of_runs(shelf)
    if options.data is not None:
        images = options.images or Path("data/image")
        source = replace(options.source, data=options.data, images=images, on_error="allow")
    elif source is not None and options.images is not None:
        source = replace(source, images=options.images)
    study = Study(shelf, source)
    annotations = Annotations(study, options.answering.answers, options.rows)
    address = bind(listening.host, listening.port, listening.token_file)
    service = Service(shelf, Worker(options.source.limits))
    service.load_first()
    api = create_api(service)
    add_pages(api, service, study, annotations)
    if source is not None:
        screen.note(f"Table: {source.data}, images: {source.images}")
    screen.json({"url": address.url})

    def announce() -> None:
        screen.note(f"The app is at {address.url} (Ctrl-C ends it)")
        if options.browser:
            webbrowser.open(address.url)

    try:
        run_server(api, address, service.limits, announce)
    finally:
        study.close()
        annotations.close()
    screen.note("Stopped.")
