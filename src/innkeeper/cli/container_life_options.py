"""The options of `inn run` and `inn create` that concern a container's log and health."""

from __future__ import annotations

import click

from innkeeper.cli.options import combined, duration
from innkeeper.guests.containers.request_parts import LOG_DRIVERS, ON_FAILURE

LIFE_NAMES = (
    "detach_keys",
    "log_driver", "log_opt", "health_cmd", "health_interval", "health_timeout", "health_retries",
    "health_start_period", "health_start_interval", "health_on_failure", "no_healthcheck",
)  # fmt: skip

life_options = combined(
    [
        click.option("--detach-keys", default=None, metavar="KEYS",
                     help="Container: what to type to leave one running that is in front, as "
                     "ctrl-p,ctrl-q."),
        click.option("--log-driver", type=click.Choice([*LOG_DRIVERS, "json-file"]), default=None,
                     help="Container: how the output of a detached one is kept (k8s-file; "
                     "json-file is taken for it), or none."),
        click.option("--log-opt", multiple=True, metavar="NAME=VALUE",
                     help="Container: max-size=SIZE of one log file (20M), max-file=N files (5)."),
        click.option("--health-cmd", default=None, metavar="CMD",
                     help="Container: a command for its shell, or JSON words; 0 is healthy."),
        click.option("--health-interval", type=duration, default=None, metavar="TIME",
                     help="Container: time between two looks (30s)."),
        click.option("--health-timeout", type=duration, default=None, metavar="TIME",
                     help="Container: how long one may take (30s)."),
        click.option("--health-retries", type=int, default=None, metavar="N",
                     help="Container: how many failures in a row are unhealthy (3)."),
        click.option("--health-start-period", type=duration, default=None, metavar="TIME",
                     help="Container: how long failures do not count (0s)."),
        click.option("--health-start-interval", type=duration, default=None, metavar="TIME",
                     help="Container: time between two looks meanwhile (5s)."),
        click.option("--health-on-failure", type=click.Choice(ON_FAILURE), default=None,
                     help="Container: what is done to an unhealthy one (none)."),
        click.option("--no-healthcheck", is_flag=True,
                     help="Container: do not look at its health, whatever its image says."),
    ]
)  # fmt: skip
