"""Sky with clouds, and water that mirrors whatever stands above it."""

from __future__ import annotations

import numpy as np

from samples_art.fields import Field, as_field, fractal, lookup, mix, sample, smoothstep
from samples_art.land import Camera, Land, linear


class Sky:
    """An afternoon sky; colours are linear."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the noise of the clouds."""
        self.noise = fractal(rng, 1024, 1.75, lowest=3)

    def colours(self, dx: Field, dy: Field) -> Field:
        """Sky seen along (dx, dy) per metre of depth, any shape. Returns shape + (3,)."""
        up = np.maximum(dy, 0.0)
        blue = mix(linear("#a9c4dc"), linear("#3567a8"), smoothstep(0.02, 0.46, up))
        low = as_field(np.exp(-up / 0.075))
        clear = mix(blue, linear("#f0e3cd"), as_field(0.85 * low))
        glow = np.exp(-(((dx + 0.66) / 0.42) ** 2)) * np.exp(-up / 0.20)
        clear = mix(clear, as_field(linear("#ffcf88") * 1.45), as_field(0.85 * glow))
        return self.clouds(clear, dx, as_field(up))

    def clouds(self, clear: Field, dx: Field, up: Field) -> Field:
        """Lay two decks over a clear sky: heaped clouds, lit from the left, and thin high ones."""
        far = 1.0 / (up + 0.085)
        u, v = as_field(0.050 * dx * far + 0.20), as_field(0.050 * far + 0.37)
        thick = self.deck(u, v)
        toward_sun = self.deck(as_field(u - 0.016), as_field(v - 0.006))
        density = smoothstep(0.15, 1.25, thick)
        lit = np.clip(0.62 + 0.55 * (thick - toward_sun) - 0.22 * density, 0.0, 1.0)
        body = mix(linear("#8793a8"), as_field(linear("#fff3df") * 1.18), as_field(lit))
        veil = sample(self.noise, as_field(u * 0.5 + v * 0.3), as_field(v * 1.3 - u * 0.2 + 0.5))
        streaks = smoothstep(0.2, 2.2, veil) * smoothstep(0.05, 0.3, up)
        high = mix(clear, linear("#f4f1ea"), as_field(0.45 * streaks))
        return mix(high, body, as_field(0.94 * density * smoothstep(0.008, 0.07, up)))

    def deck(self, u: Field, v: Field) -> Field:
        """Thickness of the cloud deck before its threshold."""
        coarse = sample(self.noise, u, v)
        return as_field(coarse + 0.28 * sample(self.noise, as_field(u * 5.1), as_field(v * 5.1)))


class Water:
    """Rippled water over a sea floor."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the slopes of the waves, scaled to a standard deviation of 1."""
        noise = fractal(rng, 1024, 2.5, lowest=6)
        slope_z = np.roll(noise, -1, 0) - np.roll(noise, 1, 0)
        slope_x = np.roll(noise, -1, 1) - np.roll(noise, 1, 1)
        slopes = np.stack([slope_x, slope_z], axis=-1)
        self.slopes = as_field(slopes / slopes.std())

    def ripples(self, x: Field, z: Field) -> Field:
        """Surface slopes (N, 2) along x and z: swell, ripples and calm lanes."""
        fading = 1.0 / (1.0 + (z / 90.0) ** 0.9)
        swell = sample(self.slopes, as_field(x / 95.0), as_field(z / 52.0))
        chop = sample(self.slopes, as_field(x / 23.0 + 0.3), as_field(z / 13.0))
        lanes = smoothstep(-1.3, 1.1, sample(self.slopes[..., 0], x / 420.0, z / 190.0))
        strength = fading * (0.35 + 0.65 * lanes)
        return as_field((0.030 * swell + 0.030 * chop) * strength[:, None])

    def colours(
        self, camera: Camera, land: Land, mirror: Field, rows: Field, columns: Field
    ) -> Field:
        """Light leaving the water at pixels below the horizon, (N, 3).

        `mirror` (h, w, 3) is the mirrored camera's picture of all that stands above the water; it
        may be smaller than the camera's own.
        """
        dx, dy = camera.slopes(rows, columns)
        z = as_field(-camera.eye / dy)
        x = as_field(dx * z)
        slope = self.ripples(x, z)
        away = 2.0 * camera.horizon - rows + 2.0 * camera.focal * slope[:, 1]
        away = np.minimum(away, camera.horizon - 1.0)
        scale = mirror.shape[1] / camera.width
        aside = columns + 1.1 * camera.focal * slope[:, 0]
        reflected = lookup(mirror, as_field(aside * scale), as_field(np.maximum(away, 0) * scale))
        grazing = np.clip(-dy / np.sqrt(1 + dx * dx + dy * dy) + 0.9 * slope[:, 1], 0.015, 1.0)
        fresnel = as_field(0.03 + 0.97 * (1.0 - grazing) ** 4.2)
        return mix(self.depths(land, x, z), reflected, fresnel) + self.foam(land, x, z)[:, None]

    def depths(self, land: Land, x: Field, z: Field) -> Field:
        """Light from inside the water: dark where deep, green over the shallows."""
        floor = land.heights(x, z)
        deep = mix(linear("#0d3440"), linear("#1d4f58"), smoothstep(20.0, 200.0, z))
        return mix(deep, linear("#5d7f62"), as_field(0.85 * smoothstep(-1.6, -0.05, floor)))

    def foam(self, land: Land, x: Field, z: Field) -> Field:
        """White of the little waves that break on the shore, linear light."""
        floor = land.heights(x, z)
        lace = sample(self.slopes[..., 0], as_field(x / 9.0), as_field(z / 9.0))
        edge = smoothstep(-0.35, -0.02, as_field(floor + 0.10 * lace)) * (z < 160.0)
        return as_field(0.55 * edge * smoothstep(-0.8, 1.2, lace))
