"""The 51 inner landmarks of the Lee Perry-Smith scan, placed by hand, in the scan's own unit.

All but the nose tip were placed on the frontal view at 0.06 to 0.15 mm a pixel; the surface gives the depth. They were
placed by what the scheme says, before any prediction was measured against them:

    17-26  upper edge of the brows' hair, from the tail of the one to that of the other
    27-30  ridge of the nose: 27 at the height of the eye corners, 30 its foremost point, 28 and 29 where the 68-point
           scheme of 3DDFA has them between (0.38 and 0.74 of the way in height)
    31-35  below the nose: 33 the base of the columella, 32 and 34 the sills of the nostrils, 31 and 35 the wings' bases
    36-47  lids, which are closed: corners where they cross, the others at 0.3 and 0.7 of the way along their line, the
           upper ones just above and the lower ones just below it
    48-67  the lips' outer borders at the shares of the mouth's width that the mean face has, and their line
"""

PLACED: dict[int, tuple[float, float, float]] = {
    17: (-1.237, 1.885, 1.571),
    18: (-1.087, 2.074, 1.856),
    19: (-0.898, 2.094, 1.998),
    20: (-0.678, 2.084, 2.083),
    21: (-0.369, 2.001, 2.123),
    22: (0.100, 2.021, 2.161),
    23: (0.319, 2.054, 2.123),
    24: (0.539, 2.060, 2.046),
    25: (0.798, 2.021, 1.894),
    26: (0.977, 1.865, 1.561),
    27: (-0.112, 1.668, 2.235),
    28: (-0.103, 1.450, 2.373),
    29: (-0.096, 1.244, 2.526),
    30: (-0.090, 1.096, 2.591),
    31: (-0.343, 0.894, 2.211),
    32: (-0.231, 0.894, 2.261),
    33: (-0.110, 0.870, 2.306),
    34: (0.010, 0.890, 2.278),
    35: (0.120, 0.890, 2.216),
    36: (-1.000, 1.620, 1.692),
    37: (-0.822, 1.602, 1.889),
    38: (-0.584, 1.640, 1.903),
    39: (-0.405, 1.705, 1.842),
    40: (-0.584, 1.626, 1.882),
    41: (-0.822, 1.588, 1.849),
    42: (0.200, 1.700, 1.839),
    43: (0.379, 1.646, 1.923),
    44: (0.616, 1.612, 1.905),
    45: (0.795, 1.645, 1.698),
    46: (0.616, 1.600, 1.854),
    47: (0.379, 1.634, 1.886),
    48: (-0.500, 0.385, 2.089),
    49: (-0.361, 0.515, 2.245),
    50: (-0.189, 0.602, 2.330),
    51: (-0.092, 0.582, 2.345),
    52: (0.012, 0.590, 2.326),
    53: (0.195, 0.487, 2.210),
    54: (0.335, 0.415, 2.078),
    55: (0.186, 0.347, 2.202),
    56: (0.058, 0.315, 2.279),
    57: (-0.086, 0.299, 2.292),
    58: (-0.221, 0.307, 2.285),
    59: (-0.347, 0.331, 2.208),
    60: (-0.459, 0.399, 2.090),
    61: (-0.207, 0.451, 2.196),
    62: (-0.084, 0.447, 2.210),
    63: (0.042, 0.451, 2.189),
    64: (0.293, 0.419, 2.075),
    65: (0.042, 0.441, 2.208),
    66: (-0.084, 0.437, 2.230),
    67: (-0.207, 0.441, 2.213),
}
