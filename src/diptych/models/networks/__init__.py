"""Networks: the trained part between a frozen tower's rows and the head. Each is a file, registered by its name.

    tower (frozen, cached)  →  network (trained, optional)  →  head (trained)  →  the shared space

A tokenizer with a GRU, or the early stages of a CNN with its late ones, are such pairs.
"""

from diptych.models.networks.base import Network, build_network

__all__ = ["Network", "build_network"]
