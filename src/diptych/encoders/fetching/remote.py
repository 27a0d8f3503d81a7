"""The hub's client behind our errors: each failure is one line that says what to do."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError, first_line
from diptych.core.extras import need
from diptych.core.registry import nearest


class Remote:
    """What is asked of the hub."""

    def __init__(self) -> None:
        self._hub = need("huggingface_hub", "fetching a model")
        from huggingface_hub import constants, errors

        self._errors = errors
        self.place: str = constants.ENDPOINT
        if constants.HF_HUB_OFFLINE:
            raise ModelError("HF_HUB_OFFLINE is set, so nothing can be fetched; unset it and run again")

    @cached_property
    def _api(self) -> Any:
        return self._hub.HfApi(library_name="diptych")

    def model(self, name: str, revision: str | None) -> Any:
        """A repository's commit, licence and files. Raises ModelError as `failures`, with the nearest names."""
        with self.failures(name, revision):
            try:
                return self._api.model_info(name, revision=revision, files_metadata=True)
            except self._errors.GatedRepoError:
                raise
            except self._errors.RepositoryNotFoundError as error:
                raise ModelError(
                    f"{self.place} has no model {name!r}, or a private one that needs `hf auth login`"
                    f"{self._nearest(name)}"
                ) from error

    def size(self, url: str) -> int:
        """Bytes of a file at a URL, whatever its server."""
        with self.failures(url):
            return int(self._hub.get_hf_file_metadata(url, token=False).size or 0)

    def names_code(self, name: str, commit: str) -> bool:
        """Whether config.json names classes in files of the repository."""
        with self.failures(name), quiet():
            found = Path(self._hub.hf_hub_download(name, "config.json", revision=commit))
        try:
            return bool(json.loads(found.read_text(encoding="utf-8")).get("auto_map"))
        except (ValueError, AttributeError):
            return False

    @contextlib.contextmanager
    def failures(self, name: str, revision: str | None = None) -> Iterator[None]:
        """Around calls of the client: what it raises becomes ModelError, with what can be done."""
        errors = self._errors
        try:
            yield
        except errors.GatedRepoError as error:
            raise ModelError(
                f"{name} is gated: accept its licence at {self.place}/{name} in a browser, then run `hf auth login` "
                "with that account (or set HF_TOKEN), and this command again"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ModelError(f"{name} has no revision {revision!r}{self._nearest_revision(name, revision)}") from error
        except errors.EntryNotFoundError as error:
            raise ModelError(f"{name}: the hub lists a file that it does not have: {first_line(error)}") from error
        except errors.HFValidationError as error:
            raise ModelError(f"{name!r} is no name of a model; expected ORG/NAME ({first_line(error)})") from error
        except errors.HfHubHTTPError as error:
            raise ModelError(f"{self.place} cannot give {name}: {first_line(error)}") from error
        except Exception as error:  # of the transport, whose package differs between versions of the client
            if isinstance(error, ModelError) or not _is_transport(error):
                raise
            raise ModelError(
                f"no connection to {self.place} for {name}: {first_line(error)}; what was fetched is kept, so run the "
                "same command again when there is one"
            ) from error

    def _nearest(self, name: str) -> str:
        with contextlib.suppress(Exception):  # a help, no more
            author, slash, _ = name.partition("/")
            asked = {"author": author} if slash else {"search": name}
            found = [each.id for each in self._api.list_models(**asked, limit=500)]
            return nearest(name, found)
        return ""

    def _nearest_revision(self, name: str, revision: str | None) -> str:
        with contextlib.suppress(Exception):
            refs = self._api.list_repo_refs(name)
            names = [each.name for each in (*refs.branches, *refs.tags)]
            return nearest(str(revision), names) or f"; it has {', '.join(names[:20])}"
        return ""


def _is_transport(error: BaseException) -> bool:
    """Whether an error is of the connection: one of httpx, httpx2, requests or urllib, or a time-out."""
    return isinstance(error, ConnectionError | TimeoutError) or any(
        kind.__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
        for kind in type(error).__mro__
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bar and no advice of the client on stderr."""
    utils: Any = importlib.import_module("huggingface_hub.utils")
    bars, level = utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        utils.logging.set_verbosity(level)
        if not bars and os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") != "1":
            utils.enable_progress_bars()
