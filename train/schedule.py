"""Learning rate and progress: pure functions, so that a run limited by minutes anneals like one limited by steps."""

import math

from train.config import OptimiserConfig


def progress_of(step: int, elapsed_s: float, steps: int | None, minutes: float | None) -> float:
    """Fraction of the run that is done, in [0, 1]: the larger of steps and minutes, whichever are limited."""
    by_steps = step / steps if steps else 0.0
    by_time = elapsed_s / (60.0 * minutes) if minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def learning_rate(progress: float, config: OptimiserConfig) -> float:
    """Linear warm-up to the peak, then a cosine down to `final_fraction` of it.

    Loshchilov and Hutter, "SGDR", 2017, equation 5, with the warm-up of Goyal et al., 2017.
    """
    warmup = config.warmup_fraction
    if progress < warmup:
        return config.learning_rate * (0.04 + 0.96 * progress / warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / max(1e-9, 1.0 - warmup)))
    return config.learning_rate * (config.final_fraction + (1.0 - config.final_fraction) * cosine)
