"""The end of a run of several processes."""

from lightning_fabric import Fabric
from torch import distributed


def leave(fabric: Fabric) -> None:
    """Wait for the other processes of a run, then end their group.

    Where a process leaves the group to the interpreter's exit, the group's threads may still run: it is aborted
    ("terminate called without an active exception") after everything is written, and torchrun reports a failure."""
    fabric.barrier()
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
