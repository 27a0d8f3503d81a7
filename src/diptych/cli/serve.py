"""`diptych serve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from diptych.core.errors import ConfigError
from diptych.core.extras import needed_by
from diptych.core.memory import share_arenas
from diptych.library.bucket import shown

from .shared import Common, GeneratorAddress, RerankerAddress

if TYPE_CHECKING:
    from diptych.serve.cross_encoder import ServedCrossEncoder
    from diptych.serve.generating import Generator

_RERANKER = """Cross-encoder that re-ranks, describes and explains: base, which ships; a model folder; or
blip:NAME_OR_FOLDER. Left out, it is the one that ships. Images without tokens (diptych rerank prepare) get theirs when
a search looks at them."""
_GENERATOR = "Generator for searches by drawn images: a shipped generator's name, or a model folder."


def serve(
    *,
    library: Annotated[list[str], Parameter(metavar="[NAME=]FOLDER")],
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    generate_token: bool = False,
    allowed_host: list[str] | None = None,
    trusted_proxy: list[str] | None = None,
    read_only: bool = False,
    fetch_urls: bool = False,
    decoders: int = 2,
    reranker: Annotated[RerankerAddress | None, Parameter(help=_RERANKER)] = None,
    beta: float | None = None,
    generator: Annotated[GeneratorAddress | None, Parameter(help=_GENERATOR)] = None,
    calibration: list[Path] | None = None,
    common: Common = Common(),
) -> None:
    """A page for people and an API for programs, over one or more libraries.

    The page is at the address that is printed, the API's description at /docs. Only programs on this
    machine can reach it; for others to reach it, --host needs a token.

    Examples:
        diptych serve --library ~/pictures.library
        diptych serve --library holidays=~/a.library --library work=~/b.library --port 9000
        diptych serve --library ~/pictures.library --host 0.0.0.0 --generate-token --read-only
        diptych serve --library ~/pictures.library --reranker runs/cross-encoder/model

    Args:
        library: Folder of a library, or its address, s3://BUCKET/NAME; or NAME=FOLDER; repeat for several.
        host: Address to listen on.
        port: Port to listen on; 0 takes any that is free.
        token: Secret that clients send, of at least 128 random bits. DIPTYCH_SERVE_TOKEN is a safer place for it.
        generate_token: Make a token and print it.
        allowed_host: Further names under which browsers may call the server.
        trusted_proxy: Address or network of a proxy in front of the server, such as 127.0.0.1 or 10.0.0.0/8; the
            clients behind it are distinguished by its X-Forwarded-For header.
        read_only: Refuse to add, describe or delete images.
        fetch_urls: Images may be given by https address, fetched by this machine.
        decoders: Processes that decode images.
        beta: Weight of the cosine beside the cross-encoder's score; by default what diptych rerank fit found.
        calibration: JSON file of diptych relate --calibrate, for searches for relevant hits alone and for POST
            /v1/relate with the model that it was fitted with; repeat for several. The filter.json of diptych data
            filter serves the latter.
    """
    if generate_token and token is not None:
        raise ConfigError("found --token and --generate-token; expected one of them")
    serve_libraries(
        library,
        common,
        host=host,
        port=port,
        token=token,
        generate_token=generate_token,
        allowed_host=allowed_host,
        trusted_proxy=trusted_proxy,
        read_only=read_only,
        fetch_urls=fetch_urls,
        decoders=decoders,
        reranker=reranker,
        beta=beta,
        generator=generator,
        calibration=calibration,
    )


def serve_libraries(
    library: list[str],
    common: Common,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    generate_token: bool = False,
    allowed_host: list[str] | None = None,
    trusted_proxy: list[str] | None = None,
    read_only: bool = False,
    fetch_urls: bool = False,
    decoders: int = 2,
    reranker: str | None = None,
    beta: float | None = None,
    generator: str | None = None,
    calibration: list[Path] | None = None,
    then: Callable[[str], None] = lambda address: None,
) -> None:
    """What `serve` does; `then` is called with the address once the server answers."""
    with needed_by("diptych serve"):
        from diptych.inspection.relating import read_calibrations
        from diptych.models import load
        from diptych.serve import libraries, run
        from diptych.serve.app import create_app
        from diptych.serve.settings import Pressure, ServeSettings, new_token
    share_arenas()
    secret = new_token() if generate_token else token
    settings = ServeSettings(
        host=host,
        port=port,
        token=secret,
        allowed_hosts=tuple(name.lower() for name in allowed_host or ()),
        trusted_proxies=tuple(trusted_proxy or ()),
        read_only=read_only,
        fetch_urls=fetch_urls,
        pressure=Pressure(decoders=decoders),
    )
    folders = libraries.named(library)
    run.log_to_stderr(quiet=common.quiet)
    application = create_app(
        settings,
        folders,
        load=lambda name: load(name, device=common.device),
        cross_encoder=_reranker(reranker, beta, common),
        generator=_generator(generator, common),
        calibrations=[read_calibrations(path) for path in calibration or ()],
    )

    def ready(address: str) -> None:
        lines = [f"{name}: {shown(folder)}" for name, folder in folders.items()]
        lines.append(f"open {address}   (the API: {address}/docs)")
        if generate_token:
            lines.append(f"token: {secret}")
        told = {"address": address, "libraries": list(folders)} | ({"token": secret} if generate_token else {})
        common.show(told, "\n".join(lines))
        import sys

        sys.stdout.flush()
        then(address)

    run.serve(application, settings, ready)


def _reranker(named: str | None, beta: float | None, common: Common) -> ServedCrossEncoder | None:
    from diptych.models.cross_encoder import load_cross_encoder, shipped
    from diptych.serve.cross_encoder import ServedCrossEncoder

    if named is None and not shipped.is_shipped():
        if beta is not None:
            raise ConfigError(
                "--beta weighs the cosine beside the score of a --reranker; name one, or leave --beta out"
            )
        return None
    found = load_cross_encoder(named or shipped.NAME, device=common.device)
    return ServedCrossEncoder(found, beta, named=named is not None)


def _generator(named: str | None, common: Common) -> Generator | None:
    if named is None:
        return None
    from diptych import synthesis

    return synthesis.load(named, device=common.device)
