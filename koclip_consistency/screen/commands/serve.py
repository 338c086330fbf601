"""`serve`."""

from functools import partial
from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import ServeOptions
    from koclip_consistency.screen.console import Screen


@command(app, "serve", "ServeOptions", "--model runs/heads", "--model runs/heads --host 0.0.0.0 --token-file token.txt")
def serve(options: "ServeOptions", screen: "Screen") -> None:
    """Answer over HTTP with a trained run, whose model stays loaded.

    POST /v1/score scores an image with hashtags, POST /v1/suggest names hashtags for it. Ctrl-C ends the server. Needs
    the extra `app`.
    """
    from koclip_consistency.screen.extra import app_extra

    with app_extra():
        from koclip_consistency.service.api import Service, create_api
        from koclip_consistency.service.server import bind, run_server
    from koclip_consistency.scoring.loading import choose_system, load_scorer
    from koclip_consistency.service.shelf import Shelf
    from koclip_consistency.service.worker import Worker

    encoding, listening = options.encoding, options.listening
    run, system = choose_system(options.model, options.system)
    load = partial(load_scorer, cache=encoding.cache, device=encoding.device, threads=encoding.threads)
    load(run.path, system=system)  # before anything listens: a run that cannot score is one line
    address = bind(listening.host, listening.port, listening.token_file)
    service = Service(Shelf(run.path, load, system=system), Worker(options.source.limits))
    service.load_first()
    url = address.url.partition("#")[0]
    screen.json({"url": url, "system": system})
    run_server(create_api(service), address, service.limits, partial(screen.note, f"Serving {system}: {url}"))
    screen.note("Stopped.")
