"""What an engine counted, and how times were spread."""
from dataclasses import dataclass, fields
from typing import Any, Dict, Tuple

from ._abi import CHistogram, CStats
from .words import Cause


@dataclass(frozen=True)
class Stats:
    """Since the engine was made, closed links included; as hbeat_stats in hbeat.h."""

    links_paused: int
    links_up: int
    links_suspect: int
    links_down: int
    shards: int
    opened: int
    closed: int
    beats_due: int
    beats_sent: int
    answers_received: int
    answers_late: int
    answers_unmatched: int
    beats_received: int
    answers_sent: int
    answers_dropped: int
    misses: int
    messages_received: int
    bytes_received: int
    messages_sent: int
    bytes_sent: int
    suspects: int
    ups: int
    would_be_downs: int
    downs: Dict[Cause, int]
    readers_late: int
    partial_frames: int
    apps_not_responding: int
    pauses: int
    paused_ms: int
    turns: int
    strikes: int
    frames_rejected: int
    frames_unauthenticated: int


@dataclass(frozen=True)
class Histogram:
    """In microseconds; as hbeat_histogram in hbeat.h. count, sum_us and below are exact, the others to one percent."""

    count: int
    sum_us: int
    min_us: int
    max_us: int
    p50_us: int
    p90_us: int
    p99_us: int
    p999_us: int
    below: Tuple[int, ...]  # below[n]: how many are less than 2^n


def stats_of(raw: CStats) -> Stats:
    values: Dict[str, Any] = {field.name: getattr(raw, field.name) for field in fields(Stats)}
    values["downs"] = {cause: raw.downs[cause] for cause in Cause if cause != Cause.NONE}
    return Stats(**values)


def histogram_of(raw: CHistogram) -> Histogram:
    values: Dict[str, Any] = {field.name: getattr(raw, field.name) for field in fields(Histogram)}
    values["below"] = tuple(raw.below)
    return Histogram(**values)
