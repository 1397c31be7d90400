"""`hantar`: exit code 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import click

from service.cli.accounts import account, key
from service.cli.credits import credit
from service.cli.dead import dead
from service.cli.device_qr import device_qr
from service.cli.device_unread import device_unread
from service.cli.devices import device
from service.cli.doctor import doctor
from service.cli.events import events
from service.cli.messages import messages
from service.cli.run import check_config, migrate, run
from service.cli.top import top
from service.cli.upstream import upstream
from service.embedded import EmbeddedPostgresError
from service.settings import SettingsError, misspelt
from service.telemetry import logs


class _Commands(click.Group):
    """Turns what can go wrong into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        for sentence in misspelt():
            click.echo(f"Warning: {sentence}", err=True)
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise click.UsageError(str(error)) from None
        except EmbeddedPostgresError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hantar")
def main() -> None:
    """Send WhatsApp messages: nothing accepted is lost, nobody gets a message twice."""
    # Left alone, structlog writes to stdout, and local variables into traces.
    logs.configure(level="warning")


main.add_command(run)
main.add_command(migrate)
main.add_command(check_config)
main.add_command(doctor)
main.add_command(top)
main.add_command(account)
main.add_command(key)
main.add_command(credit)
main.add_command(device)
device.add_command(device_qr)
device.add_command(device_unread)
main.add_command(messages)
main.add_command(upstream)
main.add_command(dead)
main.add_command(events)
