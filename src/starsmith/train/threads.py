"""How the threads of a CPU run wait for each other, which has to be said before PyTorch is loaded.

By default they wait by spinning, so that a run with as many threads as cores stands nearly still once anything else
wants a core. Measured on two cores with the model of `make demo-model`, tokens a second of two threads that spin and
two that sleep: 18,417 and 15,037 with nothing beside them; 1,145 and 9,528 on a shared machine, where one thread alone
did 10,191.
"""

import os


def let_threads_sleep() -> None:
    """Let waiting threads sleep, unless the environment says how they shall wait."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
