"""The part of a filter that asks for images taken near a place, by the great circle on a sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diptych.core.errors import ConfigError

EARTH_KM = 6371.0088  # the Earth's mean radius (IUGG)
MOST_KM = 20_100.0  # more than half of the way round
_MARGIN = 1e-9  # degrees by which the box is larger than it must be, for what rounding takes


@dataclass(frozen=True, slots=True)
class Near:
    """Holds within (or, not `inside`, beyond) so many kilometres of a place; not where a row has no coordinates.

    Degrees are those of WGS 84, negative in the south and west. The Earth is taken for a sphere, so that distances are
    right within 0.6 %. Raises ConfigError for a place or distance that is none.
    """

    latitude: float
    longitude: float
    km: float
    inside: bool = True

    def __post_init__(self) -> None:
        for name, value, most in (("latitude", self.latitude, 90), ("longitude", self.longitude, 180)):
            if not abs(value) <= most:
                raise ConfigError(f"cannot use --near: the {name} is {value:g}; expected -{most} to {most} degrees")
        if not 0 < self.km <= MOST_KM:
            raise ConfigError(
                f"cannot use --km: found {self.km:g}; expected kilometres above 0, at most {MOST_KM:,.0f}"
            )

    @property
    def haversine(self) -> float:
        """The haversine, in [0, 1], of the angle that the distance is seen under from the Earth's middle."""
        return math.sin(min(self.km / EARTH_KM, math.pi) / 2) ** 2

    def holds(self, latitude: float, longitude: float) -> bool:
        """Whether it holds for a place in degrees (haversine formula)."""
        north, east = math.radians(latitude), math.radians(longitude)
        across = math.sin((north - math.radians(self.latitude)) / 2) ** 2
        along = math.sin((east - math.radians(self.longitude)) / 2) ** 2
        found = across + math.cos(north) * math.cos(math.radians(self.latitude)) * along
        return (found <= self.haversine) == self.inside

    def box(self) -> tuple[tuple[float, float], list[tuple[float, float]]]:
        """Latitudes, and one or two spans of longitudes, outside of which no place is so near."""
        angle = min(self.km / EARTH_KM, math.pi)
        reach = math.degrees(angle) + _MARGIN
        latitudes = (max(self.latitude - reach, -90.0), min(self.latitude + reach, 90.0))
        if latitudes[0] == -90.0 or latitudes[1] == 90.0:  # a pole is within: so is every longitude
            return latitudes, [(-180.0, 180.0)]
        turn = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(self.latitude))))) + _MARGIN
        west, east = self.longitude - turn, self.longitude + turn
        if west < -180.0:
            return latitudes, [(west + 360.0, 180.0), (-180.0, east)]
        return latitudes, [(west, 180.0), (-180.0, east - 360.0)] if east > 180.0 else [(west, east)]
