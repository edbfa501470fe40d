"""Where the trials of a run are scored, as it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from nas.errors import OptionError


@dataclass(frozen=True)
class Execution:
    """Where trials are scored. No setting of the run: it may differ when a run is continued.

    Attributes:
        workers: Processes of Ray; `None` for none on this machine, or all that a cluster has.
        ray_address: Of a cluster that is there already.
        gpus_per_trial: Of each worker.
        threads: Of each worker; the machine's cores shared among them if not given.
        trial_limit_s: Longest time of an evaluation, for workers.
        storage: Address of a database for the trials; a file of the run if not given.
    """

    workers: int | None = None
    ray_address: str | None = None
    gpus_per_trial: float = 0.0
    threads: int | None = None
    trial_limit_s: float | None = None
    storage: str | None = None

    @property
    def uses_ray(self) -> bool:
        """Whether there are workers."""
        return self.workers is not None or self.ray_address is not None

    def check(self) -> None:
        """Refuse options of workers where there are none.

        Raises:
            OptionError: There are none.
        """
        if self.uses_ray:
            return
        for name, value, unit in (
            ("gpus-per-trial", self.gpus_per_trial, ""), ("trial-limit", self.trial_limit_s, " s"),
        ):  # fmt: skip
            if value:
                raise OptionError(
                    f"--{name} is for workers",
                    got=f"{value:g}{unit}",
                    do="--workers N or --ray-address",
                )
