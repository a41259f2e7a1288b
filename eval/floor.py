"""An error beside the floor's, the mean face's."""


def reduction_percent(ours: float, floor: float) -> float:
    """How far an error lies below the floor's, in % of the floor's."""
    return 100.0 * (floor - ours) / floor
