"""What a run costs by stage, beside the seconds on the clock: core-seconds, device-seconds, and how busy each was."""

from __future__ import annotations

from dataclasses import dataclass, field

_KINDS = ("cores", "device", "busy")
# From these shares on, a stage limits the speed; and the cores do, for which all stages then wait.
_HALF, _SATURATED = 0.5, 0.85


@dataclass
class Costs:
    """By stage. cores: core-seconds, of all processes; a stage whose processes are not measured is missing. device:
    seconds in which encoders kept a device busy that is not the CPU. busy: the share of the time in which items were
    worked on that the workers of the stage were at work, 0 to 1; of `start`, of all the time until the last commit."""

    cores: dict[str, float] = field(default_factory=dict)
    device: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)

    def stored(self) -> dict[str, float]:
        """As they are kept with the seconds of a run, whose stages have no dot in their names: `cores.decode`."""
        return {f"{kind}.{stage}": round(value, 4) for kind in _KINDS for stage, value in getattr(self, kind).items()}

    def add_cores(self, stage: str, seconds: float) -> None:
        self.cores[stage] = self.cores.get(stage, 0.0) + seconds

    @property
    def busiest(self) -> str | None:
        """What limited the speed: `start` if it took half of the time, `cores` if all of them were at work, else the
        stage that was at work most of the time; None if that is not known, or less than half of the time."""
        if self.busy.get("start", 0.0) > _HALF:
            return "start"
        if self.busy.get("cores", 0.0) >= _SATURATED:
            return "cores"
        stage = max(self.busy, key=lambda name: self.busy[name], default=None)
        return stage if stage is not None and self.busy[stage] >= _HALF else None


def split(stored: dict[str, float]) -> tuple[dict[str, float], Costs]:
    """What a run has stored -> its seconds by stage, and its costs."""
    costs = Costs()
    for name, value in stored.items():
        kind, dot, stage = name.partition(".")
        if dot and kind in _KINDS:
            getattr(costs, kind)[stage] = value
    return {name: value for name, value in stored.items() if "." not in name}, costs
