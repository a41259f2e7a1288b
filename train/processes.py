"""The end of a run of several processes."""

from lightning_fabric import Fabric
from torch import distributed


def leave(fabric: Fabric) -> None:
    """Wait for the other processes of a run, then end their group and its threads.

    A thread of the group that lets go of a Python object while the interpreter already ends is killed inside C++, and
    takes the process with it: "terminate called without an active exception", after everything was written. On a busy
    machine torchrun so reported a failure now and then."""
    fabric.barrier()
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
