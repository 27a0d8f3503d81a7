"""What Prometheus reads at /metrics. One registry for each application, so that tests don't share counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters and gauges of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "diptych_requests", "Answered requests", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "diptych_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.in_flight = Gauge("diptych_in_flight", "Requests being worked on", registry=self.registry)
        self.receiving = Gauge(
            "diptych_receiving_bytes", "Bytes of bodies that are here or on their way", registry=self.registry
        )
        self.rejected = Counter("diptych_rejected", "Requests turned away", ["reason"], registry=self.registry)
        self.batch = Histogram(
            "diptych_batch_size",
            "Inputs embedded at once",
            ["kind"],
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.waiting = Gauge("diptych_queue", "Inputs that wait to be embedded", ["kind"], registry=self.registry)
        self.decoders_replaced = Counter(
            "diptych_decoders_replaced", "Decoding processes that died or were stopped", registry=self.registry
        )
        self.items = Gauge("diptych_items", "Images in a library", ["library"], registry=self.registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
