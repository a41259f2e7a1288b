"""Figures that others published, each with its source and the protocol that it was measured by.

Only figures that were read at their source, or in a table that names them, stand here; columns are named as the JSON of
`python -m eval` names them. None of them was measured by face3d.
"""

from collections.abc import Iterable
from typing import NamedTuple


class PublishedRow(NamedTuple):
    """One method; a value a column of its table, None where it was not published."""

    method: str
    values: tuple[float | None, ...]
    source: str


class PublishedTable(NamedTuple):
    """Figures of one protocol. `samples`: how many the protocol has; `box`: whether the true face box was given.

    `caveat`: what a reader must know before setting a run of face3d's benchmark beside them.
    """

    columns: tuple[str, ...]
    protocol: str
    rows: tuple[PublishedRow, ...]
    samples: int | None = None
    box: bool = False
    caveat: str = ""


_SYNERGY = "SynergyNet's repository, demo/alignment.png"
_PGN = "PGN (ACCV 2020), table in P. Liu's defence, 2020"
_CODE = "Papers with Code"
_SYNERGY_POSE = "SynergyNet's repository, demo/orientation.png"
_6DREPNET = "6DRepNet's repository, README"
_DEEP3D = "Deep3DFaceRecon_pytorch, README"
_FOCUS = "NoW's board as of FOCUS' README"


def _rows(source: str, figures: Iterable[tuple]) -> tuple[PublishedRow, ...]:
    return tuple(PublishedRow(method, tuple(values), source) for method, *values in figures)


_YAW = ("upto_30", "upto_60", "above_60", "of_bins")
_AFLW_ORIGINAL = PublishedTable(
    _YAW,
    "2,000 photos, box of the true landmarks, x and y of 68 points, original labels; mean of the three bins",
    (
        PublishedRow("DSFNet", (None, None, None, 3.27), "GitHub issue DSFNet#9"),
        *_rows(_PGN, [("PGN, landmarks", 2.49, 3.30, 4.24, 3.34), ("PGN, mesh", 2.53, 3.32, 4.21, 3.36)]),
        *_rows(_SYNERGY, [("SynergyNet", 2.65, 3.30, 4.27, 3.41)]),
        PublishedRow("SADRNet", (None, None, None, 3.46), _CODE),
        *_rows(_SYNERGY, [("3DDFA-V2 (MRS)", 2.63, 3.42, 4.48, 3.51), ("2DASL", 2.75, 3.46, 4.45, 3.55)]),
        *_rows(_PGN, [("MMFace-ICP-128", 2.61, 3.65, 4.43, 3.56)]),
        PublishedRow("3DDFA-V2, released weights", (2.735, 3.477, 4.543, 3.585), "a user, GitHub issue 3DDFA_V2#28"),
        *_rows(_SYNERGY, [("PRNet", 2.75, 3.51, 4.61, 3.62), ("3D-FAN", 3.16, 3.53, 4.60, 3.76)]),
        *_rows(_SYNERGY, [("3DDFA-PAMI", 2.84, 3.57, 4.96, 3.79), ("3DSTN", 3.15, 4.33, 5.98, 4.49)]),
        *_rows(_SYNERGY, [("3DDFA", 3.43, 4.24, 7.17, 4.94)]),
    ),
    samples=2000,
    box=True,
)
_AFLW_AGAIN = PublishedTable(
    _YAW,
    "2,000 photos, box of the true landmarks, x and y of 68 points, re-annotated labels; mean of the three bins",
    (PublishedRow("SynergyNet", (None, None, None, 2.65), _CODE),),
    samples=2000,
    box=True,
)
_AFLW_POSE = PublishedTable(
    ("yaw", "pitch", "roll", "mean"),
    "mean absolute error in degrees; photos with an angle beyond 99 degrees are left out, which leaves 1,969 (FSA-Net)",
    (
        PublishedRow("DSFNet-f", (2.65, 4.28, 2.82, 3.25), "GitHub issue DSFNet#9"),
        PublishedRow("OPAL", (2.76, 4.24, 2.77, 3.26), "its author, GitHub issue opal23_headpose#1"),
        PublishedRow("SynergyNet, released weights", (None, None, None, 3.31), "SynergyNet's repository, README"),
        *_rows(_SYNERGY_POSE, [("SynergyNet", 3.42, 4.09, 2.55, 3.35), ("RankPose", 2.99, 4.75, 3.25, 3.66)]),
        PublishedRow("SADRNet", (2.93, None, None, 3.82), "collected from papers, first source not recorded"),
        *_rows(_6DREPNET, [("6DRepNet", 3.63, 4.91, 3.37, 3.97)]),
        *_rows(_SYNERGY_POSE, [("2DASL", 3.85, 5.06, 3.50, 4.13), ("3DDFA-V2", 4.06, 5.26, 3.48, 4.27)]),
        *_rows(_6DREPNET, [("QuatNet", 3.97, 5.62, 3.92, 4.50), ("TriNet", 4.04, 5.77, 4.20, 4.67)]),
        *_rows(_6DREPNET, [("WHENet-V", 4.44, 5.75, 4.31, 4.83)]),
        *_rows(_SYNERGY_POSE, [("3DDFA-PAMI", 4.33, 5.98, 4.30, 4.87)]),
        *_rows(_6DREPNET, [("FSA-Net", 4.50, 6.08, 4.64, 5.07), ("HopeNet", 6.47, 6.56, 5.44, 6.16)]),
        *_rows(_SYNERGY_POSE, [("3D-FAN, 12 points", 6.36, 12.30, 8.71, 9.12)]),
    ),
    samples=2000,
    box=True,
)
_DSFNET = "its paper, as GitHub issue DSFNet#9 quotes it"
_BFM_POINTS = (
    "The published points are PRN's 43,867 of a UV map of the Basel Face Model; ours are vertices, so that other parts "
    "of the face weigh more."
)
_OTHER_TRUTH = (
    "For orientation only: the truth here is face3d's own model fitted to the 68 true points, where the published one "
    "is the labels' Basel Face Model mesh. Between the points the prior decides, and methods that share the model gain."
)
_DENSE = PublishedTable(
    ("of_samples",),
    "2,000 photos, box of the true landmarks; 3D distance, mean depth taken off, in % of sqrt(w h) of the true points' "
    "box; mean of the photos",
    (
        *_rows(_DSFNET, [("DSFNet", 3.80)]),
        *_rows("wizwand.com, collected from papers", [("SADRNet", 4.02)]),
    ),
    samples=2000,
    box=True,
    caveat=_BFM_POINTS,
)
_DENSE_2D = _DENSE._replace(
    protocol="2,000 photos, box of the true landmarks; distance in x and y, in % of sqrt(w h) of the true points' box; "
    "mean of the photos",
    rows=_rows("a user's run, GitHub issue DSFNet#9", [("DSFNet", 2.714)]),
)
_RECONSTRUCTION = _DENSE._replace(
    protocol="2,000 photos, box of the true landmarks; 3D distance after a similarity, in % of the true outer eye "
    "corners' distance; mean of the photos",
    rows=(*_rows(_DSFNET, [("DSFNet", 3.24)]), *_rows(_CODE, [("SADRNet", 3.25)])),
)
_MESHES = {"dense": _DENSE, "dense-2d": _DENSE_2D, "reconstruction": _RECONSTRUCTION}
_NOW = PublishedTable(
    ("median", "mean", "std"),
    "NoW, non-metrical, test set: distance of every scan point in the face region to the mesh, of all scans and photos",
    _rows(
        _FOCUS,
        [
            ("DenseLandmarks, single view", 1.02, 1.28, 1.08),
            ("FOCUS", 1.04, 1.30, 1.10),
            ("DECA", 1.09, 1.38, 1.18),
            ("Deep3D, PyTorch", 1.11, 1.41, 1.21),
            ("RingNet", 1.21, 1.53, 1.31),
            ("Deep3D, TensorFlow", 1.23, 1.54, 1.29),
            ("3DDFA-V2", 1.23, 1.57, 1.39),
            ("SynergyNet", 1.27, 1.59, 1.31),
            ("MGCNet", 1.31, 1.87, 2.63),
            ("PRNet", 1.50, 1.98, 1.88),
            ("3DMM-CNN", 1.84, 2.33, 2.05),
        ],
    ),
)
_NOW_VALIDATION = _NOW._replace(
    caveat="Published on the test set; the validation set's figures are 0.1 to 0.2 mm higher."
)
_SCAN = _NOW._replace(
    columns=("median_mm", "mean_mm", "std_mm"),
    caveat="For orientation only: NoW's formula and face region, but one other scan, drawn pictures of it in place of "
    "photos, and millimetres that follow from eye corners 90 mm apart.",
)
_FACEWAREHOUSE = PublishedTable(
    ("mean", "std"),
    "9 people by 20 expressions; mean distance per vertex over MoFA's own correspondence, which is not public; mm",
    (
        *_rows(_DEEP3D, [("Deep3D, 2023-04", 1.60, 0.44), ("Deep3D, PyTorch", 1.64, 0.50)]),
        *_rows(_DEEP3D, [("Deep3D, TensorFlow", 1.81, 0.50)]),
        *_rows(_PGN, [("PGN, several images", 1.86, None), ("FML", 2.01, None), ("Tewari 2018", 2.03, None)]),
        *_rows(_PGN, [("PGN, single image", 2.09, None), ("InverseFaceNet", 2.11, None), ("MoFA", 2.19, None)]),
    ),
    samples=180,
    box=False,
    caveat="closest-point is smaller by nature than a distance per vertex: it does not compare with these.",
)
_MVF = (
    ("PGN", (1.122, 0.219), (1.161, 0.224)),
    ("MVF-Net", (1.220, 0.247), (1.228, 0.236)),
    ("MVF-Net, pretrained", (1.266, 0.297), (1.252, 0.285)),
    ("MoFA, pooled", (1.370, 0.321), (1.286, 0.266)),
    ("Genova, pooled", (1.372, 0.353), (1.260, 0.310)),
    ("Tran, pooled", (1.397, 0.290), (1.381, 0.322)),
    ("MoFA", (1.405, 0.306), (1.306, 0.261)),
    ("Genova", (1.405, 0.339), (1.271, 0.293)),
    ("Tran", (1.443, 0.292), (1.471, 0.290)),
)
_FLORENCE = {
    "mvf": PublishedTable(
        ("mean", "std"),
        "mean distance from scan to the face's planes, mm; one left, front and right frame a video",
        _rows(
            _PGN,
            [
                (f"{method}, {setting}", *figures[place])
                for place, setting in enumerate(("Indoor-Cooperative", "PTZ-Indoor"))
                for method, *figures in _MVF
            ],
        ),
    ),
    "deep3d": PublishedTable(
        ("mean", "std"),
        "root mean square of point-to-plane distances, mm; crop of 95 mm, forehead cut, scale a mesh",
        (
            *_rows(_DEEP3D, [("Deep3D, PyTorch", 1.53, 0.45), ("Deep3D, 2023-04", 1.54, 0.49)]),
            *_rows(_DEEP3D, [("Deep3D, TensorFlow", 1.67, 0.50)]),
            PublishedRow("Genova", (1.78, None), "GitHub issue Deep3DFaceReconstruction#23"),
        ),
    ),
    "genova": PublishedTable(
        ("mean", "std"),
        "mean point-to-plane distance where both surfaces exist, one scale for all, mm",
        (PublishedRow("Genova", (1.50, None), "GitHub issue Deep3DFaceReconstruction#23"),),
    ),
    "nme": PublishedTable(
        ("mean", "std"),
        "mean distance of the face's vertices to the scan / outer eye distance, %; renderings of the scans",
        _rows("read in repositories of PRNet and 3DDFA_V2", [("3DDFA-V2", 3.56, None), ("PRNet", 3.7551, None)]),
    ),
}
_REALY_BOARD = (
    ("HiFace, fine", 1.275, 1.308),
    ("HiFace, coarse", 1.297, 1.341),
    ("MoSAR", 1.500, None),
    ("HRN", 1.537, 1.468),
    ("Deep3D", 1.657, 1.691),
    ("AlbedoGAN", 1.746, 1.762),
    ("MGCNet", 1.774, 1.787),
    ("PSL", 1.882, 1.857),
    ("SADRNet", 1.913, 1.958),
    ("3DDFA-V2", 1.926, 1.943),
    ("DECA, coarse", 2.010, 2.107),
    ("PRNet", 2.013, 2.032),
    ("SynergyNet", 2.021, 2.008),
    ("EMOCA, coarse", 2.103, 2.125),
    ("MICA", 2.134, 2.145),
)
_REALY = {
    view: PublishedTable(
        ("mean",),
        f"{view} photos of 100 scans; mean of nose, mouth, forehead and cheek after an alignment of each, mm",
        _rows(
            "REALY's board, file of 2024-03-09", [(f"{row[0]}, all", row[place]) for row in _REALY_BOARD if row[place]]
        ),
        caveat="The published rows compare with the row all.",
    )
    for place, view in ((1, "front"), (2, "side"))
}
_MDFLOW = "MDFlow's repository, README"
_SELFLOW = "SelFlow's talk, CVPR 2019"
_DDFLOW = "DDFlow's poster, AAAI 2019"
_DEFENCE = "P. Liu's defence, 2020"
_FLOW_CAVEAT = (
    "The published rows compare with epe px of the whole set, by networks that learned without labels from pictures of "
    "the same kind."
)
_SINTEL = PublishedTable(
    ("of_pairs",),
    "Sintel, training set, clean or final pass; mean end-point error of all pixels, px",
    (
        *_rows(_SELFLOW, [("SelFlow, clean", 2.88), ("SelFlow, final", 3.87)]),
        *_rows(_DDFLOW, [("DDFlow, clean", 2.92), ("DDFlow, final", 3.98)]),
        *_rows(_DEFENCE, [("DistillFlow, clean", 2.61), ("DistillFlow, final", 3.70)]),
        *_rows(_MDFLOW, [("UFlow, clean", 2.50), ("MDFlow-Fast, clean", 2.53), ("ARFlow, clean", 2.79)]),
        *_rows(_MDFLOW, [("SimFlow, clean", 2.86)]),
    ),
    caveat=_FLOW_CAVEAT,
)
_KITTI = PublishedTable(
    ("of_pairs",),
    "KITTI, training set of 2012 or 2015; mean end-point error of all pixels where it is known, px",
    (
        *_rows(_SELFLOW, [("SelFlow, 2012", 1.69), ("SelFlow, 2015", 4.84)]),
        *_rows(_DDFLOW, [("DDFlow, 2012", 2.35), ("DDFlow, 2015", 5.72)]),
        *_rows(_DEFENCE, [("Flow2Stereo, 2012", 1.45), ("Flow2Stereo, 2015", 3.54)]),
        *_rows(_DEFENCE, [("DistillFlow, 2012", 1.38), ("DistillFlow, 2015", 2.93)]),
        *_rows("UPFlow's repository, README", [("UPFlow, 2012", 1.4)]),
        *_rows(_MDFLOW, [("UFlow, 2015", 2.71), ("ARFlow, 2015", 2.85), ("MDFlow-Fast, 2015", 3.02)]),
        *_rows(_MDFLOW, [("SimFlow, 2015", 5.19)]),
    ),
    caveat=_FLOW_CAVEAT,
)
_CHAIRS = PublishedTable(
    ("of_pairs",),
    "FlyingChairs, which pairs is not recorded; mean end-point error of all pixels, px",
    _rows(_DDFLOW, [("DDFlow", 2.97)]),
    caveat=_FLOW_CAVEAT,
)
TABLES = {
    "AFLW2000-3D sparse/original": _AFLW_ORIGINAL,
    "AFLW2000-3D sparse/reannotated": _AFLW_AGAIN,
    "AFLW2000-3D sparse/pose": _AFLW_POSE,
    **{f"AFLW2000-3D sparse/{name}/bfm": table for name, table in _MESHES.items()},
    **{f"AFLW2000-3D sparse/{name}/face3d-fit": table._replace(caveat=_OTHER_TRUTH) for name, table in _MESHES.items()},
    "NoW validation": _NOW_VALIDATION,
    "shape: Lee Perry-Smith scan": _SCAN,
    "FaceWarehouse": _FACEWAREHOUSE,
    "flow, sintel": _SINTEL,
    "flow, kitti": _KITTI,
    "flow, chairs": _CHAIRS,
    **{f"MICC Florence/{variant}": table for variant, table in _FLORENCE.items()},
    **{f"REALY/{view}": table for view, table in _REALY.items()},
}
"""By benchmark, and where one has several tables, by what they are of."""
