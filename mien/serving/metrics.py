"""What `/metrics` shows, in Prometheus' text format. Every server has a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper ends of the latency buckets in seconds.
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counters, gauges and histograms; no label holds anything that a client sends."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "mien_requests", "Requests by route and status code.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "mien_request_seconds",
            "Seconds from a request's headers to the end of its response, by route.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("mien_requests_in_flight", "Requests that are being answered.", registry=registry)
        self.images = Counter("mien_images", "Images by the status of their result.", ("status",), registry=registry)
        self.faces = Counter("mien_faces", "Faces predicted.", registry=registry)
        self.queue_depth = Gauge("mien_queue_depth", "Images that wait for a worker.", registry=registry)
        self.held_bytes = Gauge("mien_held_bytes", "Bytes of the request bodies in memory.", registry=registry)
        self.batch_size = Histogram(
            "mien_batch_size", "Faces in one call of the model.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )

    def text(self) -> bytes:
        """Return the page."""
        return generate_latest(self._registry)
