"""The service: libraries over HTTP, with a page for people and an API for programs.

`settings.ServeSettings` says how; `app.create_app` makes the ASGI application; `run.serve` runs it.

A search comes in through `gate.py` (host, token, size, admission) to `api/search.py`, whose function `search` shows the
rest: `inputs.py` makes the query a vector, `libraries.py` searches it in a batch with others (`batching.py`) through
`diptych.library`, `cross_encoder.py` re-ranks, and `schemas.py` has the fields of the answer. `errors.py` turns every
exception into an answer.
"""

from __future__ import annotations
