"""Prometheus' text format: what node_exporter's textfile collector, or any scraper, reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fuseid.core.errors import BadInput
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.pipelines.metrics import Metric


def prometheus_text(metrics: Sequence[Metric]) -> str:
    """The metrics in the text format 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}

    class Found(Collector):
        def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
            for metric in metrics:
                family = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
                for labels, value in metric.samples.items():
                    family.add_metric(labels, value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Found())
    return generate_latest(registry).decode()


def write_whole(path: Path, text: str) -> None:
    """Writes a file by renaming: a reader sees the former text or this one, never a part. Raises BadInput for a path
    that cannot be written to."""
    # node_exporter reads only files whose names end in .prom.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise BadInput(f"cannot write {option('out', path)}: {reason(error)}") from None
    finally:
        with suppress(OSError):
            part.unlink()
