"""Networks: the trained part between a frozen tower's rows and the head. One a file, named in one table.

    tower (frozen, cached)  →  network (trained, optional)  →  head (trained)  →  the shared space

A tokenizer with a GRU, or the early stages of a CNN with its late ones, are such pairs.
"""

from diptych.models.networks.base import Network
from diptych.models.networks.table import NETWORKS, build_network

__all__ = ["NETWORKS", "Network", "build_network"]
