"""The service: libraries over HTTP, with a page for people and an API for programs.

`settings.ServeSettings` says how; `app.create_app` makes the ASGI application; `run.serve` runs it.
"""

from __future__ import annotations
