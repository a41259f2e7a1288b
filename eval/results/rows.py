"""The rows of the README's table: what each is called, which run it comes from, and how its figures are written."""

from collections.abc import Callable
from typing import NamedTuple

from eval.results.runs import Figures

_YAWS = ("yaw -60", "yaw -30", "yaw +0", "yaw +30", "yaw +60")
_BINS = ("upto_30", "upto_60", "above_60")
_MESH, _PGN = "3dmm", "pgn"


class Row(NamedTuple):
    """`figure(run)` writes the cell; `beside` is another method's run of the same pairs, shown after it.

    `data` stands for DATA where the data is made, by the command `made_by`, and not downloaded. `part` is what a run
    may lack: the row then has no run.
    """

    label: str
    run: str
    figure: Callable[[Figures], str]
    beside: str | None = None
    data: str = "DATA"
    made_by: str = ""
    part: str = ""


def _nme(run: Figures, points: str, labels: str, bold: bool = False) -> str:
    bins = " / ".join(run.text(2, "summary", f"{points}/{labels}", name) for name in _BINS)
    mean = run.text(2, "summary", f"{points}/{labels}", "of_samples")
    return f"{bins}, {f'**{mean}**' if bold else mean}"


def _original(run: Figures) -> str:
    photos = f"{run.scored()} photos"
    return f"{photos}: mesh {_nme(run, _MESH, 'original', bold=True)}; PGN {_nme(run, _PGN, 'original')}"


def _reannotated(run: Figures) -> str:
    return f"mesh {_nme(run, _MESH, 'reannotated')}; PGN {_nme(run, _PGN, 'reannotated')}"


def _pose(run: Figures) -> str:
    angles = ", ".join(run.text(1, "summary", f"pose/{angle}", "mae_deg") for angle in ("pitch", "yaw", "roll"))
    return f"{angles} degrees ({run.count('summary', 'pose/yaw', 'count')} photos)"


def _detector(run: Figures) -> str:
    found = f"{run.scored()} of {run.count('samples_in_all')} found"
    return f"{found}; mesh {_nme(run, _MESH, 'original')}; PGN {_nme(run, _PGN, 'original')}"


def _scan(run: Figures) -> str:
    medians = ", ".join(run.text(2, "scan", "summary", yaw, "median_mm") for yaw in _YAWS)
    return f"{medians} mm; mean face {run.text(2, 'scan_floor', 'summary', 'yaw +0', 'median_mm')} mm"


def _people(run: Figures) -> str:
    at = ("people", "summary", "all")
    below = run.text(1, *at, "below_mean_face_percent")
    errors = f"{run.text(2, *at, 'error_mm')} mm; mean face {run.text(2, *at, 'mean_face_mm')} mm"
    return f"{run.count(*at, 'count')} people: {errors}, {below} % below it"


def _clips_people(run: Figures) -> str:
    errors = ("per_vertex_mm", "neutral_mm", "pooled_neutral_mm")
    ours, floor = (
        " / ".join(run.text(2, part, "summary", name, "mean") for name in errors) for part in ("people", "people_floor")
    )
    return f"{run.scored('people')} people, {run.count('frames')} frames: {ours} mm; mean face {floor} mm"


def _clips_refined(run: Figures) -> str:
    errors = ("per_vertex_mm", "neutral_mm")
    return " / ".join(run.text(2, "people", "summary", name, "mean") for name in errors) + " mm"


def _scan_refined(run: Figures) -> str:
    return f"{run.text(2, 'scan', 'summary', 'pooled_median_mm', 'mean')} mm"


def _clips_spread(run: Figures) -> str:
    spreads = ("identity_spread", "identity_spread_across_people")
    spread = " / ".join(run.text(2, "people", "summary", name, "mean") for name in spreads)
    jitters = (f"landmark_jitter_percent/{points}" for points in (_MESH, _PGN))
    mesh, pgn = (run.text(2, "people", "summary", name, "mean") for name in jitters)
    return f"{spread}; mesh {mesh} %, PGN {pgn} %"


def _clips_scan(run: Figures) -> str:
    errors = ("single_median_mm", "pooled_median_mm")
    ours = " / ".join(run.text(2, "scan", "summary", name, "mean") for name in errors)
    return f"{ours} mm; mean face {run.text(2, 'scan_floor', 'summary', errors[0], 'mean')} mm"


def _model(run: Figures) -> str:
    medians = [run.content.get(name) for name in ("fitted_mm", "mean_face_mm")]
    if not all(isinstance(value, list) and value and isinstance(value[0], float) for value in medians):
        raise ValueError(f"{run.path} has no fitted_mm and mean_face_mm: measure it again with this version")
    fitted, floor = (f"{value[0]:.2f}" for value in medians if value)
    return f"median {fitted} mm; mean face {floor} mm"


def _dlib(run: Figures) -> str:
    user, alone = (_detections(run, part) for part in ("summary", "detector_alone"))
    return f"{user} (the detector alone: {alone})"


def _detections(run: Figures, part: str) -> str:
    names = ("found", "faces", "without_annotation", "false_alarms_on_dogs")
    found, faces, more, dogs = (run.count(part, name) for name in names)
    others = f"{more} more" if more else "nothing else"
    return f"{found} of {faces} found, {others}, {dogs or 'nothing'} on the photo of dogs"


def _identity(run: Figures) -> str:
    spread = f"spread {run.text(2, 'summary', 'spread_mean')} of the prior's"
    first = f"({run.text(2, 'summary', 'spread_first_10')} of the first ten)"
    same = f"same person {run.text(2, 'summary', 'distance_same_person')} apart"
    different = f"different people {run.text(2, 'summary', 'distance_different_people')}"
    people = f"{run.count('people') - len(run.content.get('left_out', {}))} people"
    return f"{people}: {spread} {first}; {same}, {different}; AUC {run.text(2, 'summary', 'verification_auc')}"


_PROTOCOLS = (
    ("Florence mvf", "mean"),
    ("Florence deep3d", "rms"),
    ("NoW", "median"),
    ("NoW metrical", "median"),
    ("REALY", "all"),
    ("FaceWarehouse closest-point", "mean"),
)


def _protocols(run: Figures) -> str:
    cells = []
    for protocol, name in _PROTOCOLS:
        at = ("summary", protocol, name)
        errors = [run.number(*at, "errors", yaw) for yaw in _YAWS]
        mean = sum(error or 0.0 for error in errors) / len(errors)
        cells.append(f"{protocol} {mean:.2f} / {run.text(2, *at, 'mean_face')} mm")
    return ", ".join(cells)


def _eyes(run: Figures) -> str:
    people = ("summary", "generated people")

    def openings(points: str, prefix: str = "") -> str:
        return " / ".join(run.text(1, *people, points, f"{prefix}{state}_mm") for state in ("open", "shut"))

    counts = " of ".join(str(run.count(*people, _MESH, name)) for name in ("shut", "faces"))
    return f"{counts} people: mesh {openings(_MESH)}, PGN {openings(_PGN)}; truth {openings(_MESH, 'true_')}"


def _parser(run: Figures) -> str:
    names = ("skin", "nose", "brows", "upper_lip", "lower_lip", "eyes", "inner_mouth")
    classes = ", ".join(f"{name.replace('_', ' ')} {run.text(2, 'summary', f'iou_{name}')}" for name in names)
    return f"{run.count('summary', 'people')} people: {run.text(2, 'summary', 'mean_iou')} ({classes})"


def _pairs(*names: str) -> Callable[[Figures], str]:
    """End-point errors in px, means of the pairs."""

    def figure(run: Figures) -> str:
        return " / ".join(run.text(2, "summary", name, "of_pairs") for name in names) + " px"

    return figure


def _unlabelled(run: Figures) -> str:
    agree = run.text(1, "summary", "consistent_percent", "of_pairs")
    names = ("census_distance", "census_distance_without_flow")
    return f"{agree} %, " + " / ".join(run.text(2, "summary", name, "of_pairs") for name in names)


_SCORED_EPE = ("epe_non_occluded_px", "epe_occluded_px", "epe_px")
_FACES = "python -m train.prepare flow --kind faces --extra PHOTOS -o F"
_PAIRS = (
    "python -m train.prepare flow --kind clips --size 320 --count 100 --extra DATA/clips --extra DATA/voxceleb2 -o C"
)
ROWS = (
    Row(
        "AFLW2000-3D, box of the truth: 68-point NME %, yaw <= 30 / 30-60 / > 60, mean of the photos",
        "aflw2000_gt",
        _original,
    ),
    Row("the same against the re-annotated labels", "aflw2000_gt", _reannotated),
    Row("the same, mean error of pitch, yaw, roll", "aflw2000_gt", _pose),
    Row("the same photos without a box: what users get", "aflw2000_detector", _detector),
    Row("Lee Perry-Smith scan, median distance at yaw -60, -30, 0, 30, 60", "shape", _scan),
    Row("generated people, error a vertex", "shape", _people),
    Row(
        "clips of generated people, error a vertex: with expression / neutral / its mean", "clips_shape", _clips_people
    ),
    Row(
        "the same, spread of the identity in a clip / across people; jitter of landmarks", "clips_shape", _clips_spread
    ),
    Row(
        "those clips, one identity each, refined by the flow between its frames: with expression / neutral",
        "clips_shape_refined",
        _clips_refined,
    ),
    Row("clip of the scan, median distance: a frame / the frames' mean", "clips_shape", _clips_scan, part="scan"),
    Row("the same clip, refined", "clips_shape_refined", _scan_refined, part="scan"),
    Row("3D protocols on that scan, mean of the five yaws / mean face", "scan_protocols", _protocols),
    Row("the morphable model itself on that scan, identity fitted to its surface", "model", _model),
    Row("dlib's example faces", "dlib", _dlib),
    Row("identity coefficients on LFW (training data)", "identity", _identity),
    Row("opening of lids in mm, of people whose eyes are open / shut", "eyes", _eyes),
    Row("face parser on generated people, mean IoU", "parser", _parser),
    Row("optical flow, FlyingChairs: mean end-point error", "flow_chairs_face3d", _pairs("epe_px"), "flow_chairs_dis"),
    Row(
        "the same, Sintel (easy and medium, clean and final), all / occluded",
        "flow_sintel_face3d",
        _pairs("epe_px", "epe_occluded_px"),
        "flow_sintel_dis",
    ),
    Row("the same, RubberWhale", "flow_middlebury_face3d", _pairs("epe_px"), "flow_middlebury_dis"),
    Row(
        "the same, drawn clips of unseen faces, 224 x 224, non-occluded / occluded / all",
        "flow_generated_face3d",
        _pairs(*_SCORED_EPE),
        "flow_generated_dis",
        data="F",
        made_by=_FACES,
    ),
    Row(
        "the same, unseen clips: pixels whose forward and backward flow agree; census distance after / before warping",
        "clips_face3d",
        _unlabelled,
        "clips_dis",
        data="C",
        made_by=_PAIRS,
    ),
)
