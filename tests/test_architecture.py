"""The rules that keep the code readable: who may import whom, and how large things get."""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("face3d", "bfm", "train", "eval", "benchmarks")

# Lowest first: a module imports from its own layer (without a cycle) and from those below it.
LAYERS = (
    ("types", "_version", "compiled"),
    (
        "geometry",
        "camera",
        "image",
        "mesh",
        "io",
        "checkpoint",
        "onnx_session",
        "warping",
        "flow_files",
        "flow_layouts",
        "flow_picture",
        "flow_refinement",
        "flow_filling",
    ),
    (
        *(
            "pose",
            "morphable*",
            "rasterise*",
            "render",
            "region",
            "crops",
            "texture*",
            "shading",
            "losses*",
            "census*",
            "consistency",
            "flow_adjustment",
            "metrics",
        ),
        *("smoothing", "tracking"),
    ),
    ("networks",),
    ("reconstruct", "reconstruct_onnx", "unguided", "networks_file"),
    (
        *("detect*", "parse*", "reconstruction", "overlay*", "export*", "gltf", "pipeline", "optical_flow"),
        *("video", "video_io", "face_track", "keyframes", "refine"),
    ),
    ("cli*",),
    ("__init__", "__main__"),
)
NETWORKS_MAY_IMPORT = {
    *("torch", "numpy", "jaxtyping"),
    *("face3d.types", "face3d.checkpoint", "face3d.warping", "face3d.compiled"),
}
FORBIDDEN = {  # programs on the left import nothing of what stands on the right
    "face3d": {"bfm", "train", "eval", "benchmarks"},
    "bfm": {"train", "eval", "benchmarks"},
    "train": {"eval", "benchmarks"},
    "eval": {"train", "benchmarks"},
    "benchmarks": {"train"},  # they time what eval does as well
}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
USUAL_FUNCTION_LINES = 45
USUAL_SHARE = 0.95
MAX_ARGUMENTS = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources(package: str) -> dict[str, ast.Module]:
    """Parsed files of a package by path relative to the repository."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def all_sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        yield from sources(package).items()


def imported(tree: ast.Module) -> set[str]:
    """Dotted names of everything imported anywhere in a file; ``from a import b`` counts as a.b where b is a module."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            base = ROOT / node.module.replace(".", "/")
            for alias in node.names:
                is_module = (base / f"{alias.name}.py").exists() or (base / alias.name).is_dir()
                names.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return names


def layer(module: str) -> int:
    """Layer of a face3d module, by the first name below the package."""
    for index, patterns in enumerate(LAYERS):
        if any(fnmatch(module, pattern) for pattern in patterns):
            return index
    raise AssertionError(f"face3d/{module}.py has no layer: place it in LAYERS of tests/test_architecture.py")


def face3d_graph() -> dict[str, set[str]]:
    """First names below face3d -> first names that they import."""
    graph: dict[str, set[str]] = {}
    for file, tree in sources("face3d").items():
        name = Path(file).relative_to("face3d").parts[0].removesuffix(".py")
        targets = {full.split(".")[1] for full in imported(tree) if full.startswith("face3d.")}
        graph.setdefault(name, set()).update(targets - {name})
    return graph


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Lines of a function without its decorators and docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def argument_count(function: Function) -> int:
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_depend_one_way(package: str) -> None:
    for file, tree in sources(package).items():
        reached = {name.split(".")[0] for name in imported(tree)} & FORBIDDEN[package]
        assert not reached, f"{file} imports {sorted(reached)}"


def test_face3d_imports_go_downwards() -> None:
    for module, targets in face3d_graph().items():
        above = sorted(target for target in targets if layer(target) > layer(module))
        assert not above, f"face3d.{module} imports {above} from a higher layer"


def test_face3d_has_no_import_cycle() -> None:
    graph = face3d_graph()
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"import cycle: {' -> '.join((*path, module))}"
        if module not in done:
            for target in sorted(graph.get(module, ())):
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_networks_import_torch_only() -> None:
    for file, tree in sources("face3d").items():
        if not file.startswith("face3d/networks/"):
            continue
        for name in imported(tree):
            known = name in NETWORKS_MAY_IMPORT or name.startswith(("face3d.networks", "torch."))
            assert known or name.split(".")[0] in sys.stdlib_module_names, f"{file} imports {name}"


def test_files_are_short() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for package in (*PACKAGES, "tests")
        for file in (ROOT / package).rglob("*.py")
    }
    long = {file: length for file, length in lengths.items() if length > MAX_FILE_LINES}
    assert not long, f"longer than {MAX_FILE_LINES} lines: {long}"


def test_functions_are_short() -> None:
    lengths = {f"{file}:{node.name}": body_lines(node) for file, tree in all_sources() for node in functions(tree)}
    long = {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}
    assert not long, f"longer than {MAX_FUNCTION_LINES} lines: {long}"
    usual = sum(length <= USUAL_FUNCTION_LINES for length in lengths.values())
    assert usual >= USUAL_SHARE * len(lengths), f"only {usual} of {len(lengths)} within {USUAL_FUNCTION_LINES} lines"


def test_functions_take_few_arguments() -> None:
    for file, tree in all_sources():
        for node in functions(tree):
            is_command = Path(file).stem.startswith(("cli", "__main__"))  # there, arguments are the options
            assert is_command or argument_count(node) <= MAX_ARGUMENTS, f"{file}:{node.name}"


def test_modules_are_named_for_what_they_hold() -> None:
    for file, _ in all_sources():
        assert Path(file).stem not in VAGUE_NAMES, file


def test_nothing_is_unpickled_or_loaded_loosely() -> None:
    """No pickle outside the reader that executes nothing, no partial weights, no path tricks."""
    for file, tree in all_sources():
        text = ast.unparse(tree)
        assert "sys.path" not in text, file
        assert "strict=False" not in text.replace(" ", "") or "load_state_dict" not in text, file
        assert "allow_pickle=True" not in text, file
        assert Path(file).stem == "restricted_pickle" or "pickle" not in imported(tree), file


def test_annotations_are_real_objects() -> None:
    """Postponed annotations would be strings, which the shape checks cannot read."""
    for file, tree in sources("face3d").items():
        assert "__future__" not in imported(tree), file


def is_bare_array(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation) in {"Tensor", "torch.Tensor", "np.ndarray"}


def test_public_functions_state_their_shapes() -> None:
    for file, tree in sources("face3d").items():
        for node in tree.body:
            if isinstance(node, Function) and not node.name.startswith("_"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                bare = [argument.arg for argument in arguments if is_bare_array(argument.annotation)]
                assert not bare and not is_bare_array(node.returns), f"{file}:{node.name} has no shape on {bare}"
