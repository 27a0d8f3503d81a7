"""Getting pretrained weights from the network: what an address needs, its size and licence, and the download.

`plan` asks the Hugging Face hub and downloads nothing but a model's description; `fetch` downloads what a plan lists,
goes on where an earlier download stopped, checks every hash, and remembers them. Nothing else in Diptych downloads a
model; what is fetched is found by `diptych.encoders.hub`.
"""

from .download import fetch
from .planning import Plan, plan

__all__ = ["Plan", "fetch", "plan"]
