"""How many decoders and encoders a cluster runs: the only module that decides it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import ray


@dataclass(frozen=True, slots=True)
class Sizes:
    """`*_cpus` and `*_gpus` are what Ray reserves for one actor, `encoder_threads` what torch may use in one."""

    decoders: int
    decoder_cpus: float
    encoders: int
    encoder_cpus: float
    encoder_gpus: float
    encoder_threads: int


def sizes_of(
    resources: dict[str, float], nodes: int, decode_workers: int = 0, most_encoders: int | None = None
) -> Sizes:
    """resources: Ray's totals over all nodes. nodes: how many nodes have cores. decode_workers: decoders per node, 0
    for one per core. most_encoders: how many encoders, instead of one per GPU or node; if the cluster has no room for
    them, its autoscaler is asked for it.

    With GPUs: one encoder per GPU; all cores except one per encoder decode. Without: one encoder per node, which may
    use all cores of the node, and as many decoders as cores; the operating system divides the cores between the two,
    whichever is the bottleneck. So the reservations together are less than the cores of the cluster.
    """
    cpus, gpus = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
    nodes = max(1, nodes)
    if gpus:
        decoders = decode_workers * nodes or max(1, cpus - gpus)
        decoder_cpus, encoder_cpus = _share(cpus - gpus * 0.5, decoders), 0.5
        return Sizes(decoders, decoder_cpus, most_encoders or gpus, encoder_cpus, 1.0, max(1, cpus // gpus))
    decoders = decode_workers * nodes or cpus
    encoder_cpus = 0.25
    decoder_cpus = _share(cpus - nodes * encoder_cpus, decoders)
    return Sizes(decoders, decoder_cpus, most_encoders or nodes, encoder_cpus, 0.0, cpus // nodes or 1)


def _share(cpus: float, actors: int) -> float:
    """How much of `cpus` each of `actors` may reserve, in ten-thousandths of a core, as Ray counts."""
    return max(0.05, math.floor(cpus / actors * 10_000) / 10_000)


def cluster_sizes(decode_workers: int = 0, most_encoders: int | None = None) -> Sizes:
    """Sizes for the cluster that this driver is connected to, as it is now."""
    able = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return sizes_of(ray.cluster_resources(), len(able), decode_workers, most_encoders)
