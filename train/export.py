"""`python -m train.export RUN -o face3d/assets/NAME.safetensors`: put trained weights among the embedded files.

Copies the weights, writes their model card beside them (data, command, time, figures), and lists both in the manifest.
"""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from face3d.checkpoint import load_weights, save_weights, write_manifest

LICENCE = "MIT (face3d)"


def summary(path: Path) -> dict[str, Any]:
    """The figures of an evaluation's JSON without its per-sample values."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return _without_samples(content)


def _without_samples(value: Any) -> Any:
    if isinstance(value, dict):
        dropped = ("records", "samples", "pairs", "environment", "identity", "per_sample", "confusion")
        return {key: _without_samples(part) for key, part in value.items() if key not in dropped}
    return value


def portable(command: list[str]) -> str:
    """A command line without the folders of the machine it ran on."""
    words = [word.split("/")[-1] if word.startswith("/") else word for word in command]
    return "python -m train " + shlex.join(words[1:])


def run_summary(run: Path) -> dict[str, Any]:
    """Command, length and validation of a finished run."""
    told = json.loads((run / "config.json").read_text(encoding="utf-8"))
    _, meta = load_weights(run / "weights.safetensors")
    return {
        "stage": meta["stage"],
        "command": portable(told["command"]),
        "steps": meta["step"],
        "minutes": meta["minutes"],
        "validation_on_held_out_people": {k: round(float(v), 4) for k, v in meta["figures"].items()},
    }


def card(runs: list[Path], description: str, figures: list[Path]) -> dict[str, Any]:
    """The model card of the last of some runs that built on each other."""
    return {
        "description": description,
        "licence": LICENCE,
        "network": load_weights(runs[-1] / "weights.safetensors")[1]["network"],
        "runs": [run_summary(run) for run in runs],
        "evaluation": {path.stem: summary(path) for path in figures},
    }


def mean_state(runs: list[Path]) -> dict[str, Tensor]:
    """Mean of the weights of runs that went on from one another (Wortsman et al., "Model soups", ICML 2022)."""
    states = [load_weights(run / "weights.safetensors")[0] for run in runs]
    first = states[0]
    if any(state.keys() != first.keys() for state in states):
        raise ValueError(f"the weights of {', '.join(map(str, runs))} have different names: expected one network")
    return {
        name: torch.stack([state[name].float() for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in first.items()
    }


def main(
    run: Annotated[Path, typer.Argument(help="run folder of a stage", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="weights to write, .safetensors")],
    description: Annotated[str, typer.Option(help="what it was learned from")],
    earlier: Annotated[list[Path] | None, typer.Option(help="runs it builds on, first to last", exists=True)] = None,
    figures: Annotated[list[Path] | None, typer.Option(help="JSON of `python -m eval`", exists=True)] = None,
    mean_with: Annotated[list[Path] | None, typer.Option(help="runs to average the weights with", exists=True)] = None,
) -> None:
    """Export a run's weights with a model card."""
    _, meta = load_weights(run / "weights.safetensors")
    state = mean_state([run, *(mean_with or [])])
    save_weights(output, state, meta)
    output.chmod(0o644)
    text = json.dumps(card([*(earlier or []), run], description, figures or []), indent=1) + "\n"
    output.with_suffix(".json").write_text(text, encoding="utf-8")
    write_manifest(output.parent)
    typer.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    typer.run(main)
