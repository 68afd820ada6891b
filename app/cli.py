"""Commands for operators: `flask --app wsgi COMMAND`.

The commands are doctor, explain, import-csv, revoke, seed-demo, sync and token.

On a developer's computer, `python -m app.dev flask COMMAND` uses the settings of
`make run`.
"""

from __future__ import annotations

from pathlib import Path

import click
from flask import Flask
from flask.cli import with_appcontext
from sqlalchemy.exc import DBAPIError

from app import sync
from app.announce import commit_and_announce, revoke_user
from app.services import services
from app.tokens import issue_token
from models.explain import NoSuchUser, explain
from models.explain_text import explanation_lines
from models.identifiers import InvalidIdentifier, check_user_id
from models.presence import PresenceUnavailable
from models.sql.csv_rows import ImportFailed
from models.sql.db import error_text
from models.sql.friendship import FriendshipStatus
from models.sql.graph import ConversationRecord, load_bulk
from models.sql.importer import import_csv
from models.sql.sync import SyncPlan

_DAY_SECONDS = 86400
DEFAULT_ALLOWED = 10
"""Per cent of a kind that a sync may delete, if nothing else is said."""
BAD_ROWS = 3
"""The exit code of a sync that has left out some rows."""

# Friends of friends, a pair that only shares a conversation, a pending and a blocked
# friendship: the demo shows each kind.
_DEMO_NAMES = {
    "ada": "Ada Lovelace",
    "grace": "Grace Hopper",
    "linus": "Linus Torvalds",
    "margaret": "Margaret Hamilton",
    "alan": "Alan Turing",
    "katherine": "Katherine Johnson",
    "edsger": "Edsger Dijkstra",
    "radia": "Radia Perlman",
}
_DEMO_FRIENDSHIPS = (
    ("ada", "grace", FriendshipStatus.ACCEPTED),
    ("ada", "alan", FriendshipStatus.ACCEPTED),
    ("ada", "margaret", FriendshipStatus.ACCEPTED),
    ("grace", "margaret", FriendshipStatus.ACCEPTED),
    ("grace", "linus", FriendshipStatus.ACCEPTED),
    ("margaret", "katherine", FriendshipStatus.ACCEPTED),
    ("alan", "edsger", FriendshipStatus.ACCEPTED),
    ("linus", "radia", FriendshipStatus.PENDING),
    ("edsger", "linus", FriendshipStatus.BLOCKED),
)
_DEMO_CONVERSATIONS = (
    ConversationRecord("engines", "Engines", frozenset({"ada", "alan", "edsger"})),
    ConversationRecord(
        "moon", "To the moon", frozenset({"margaret", "katherine", "grace"})
    ),
    ConversationRecord("networks", "Networks", frozenset({"radia", "ada"})),
)


def register(app: Flask) -> None:
    """Add the commands to the application's command line."""
    for command in (
        doctor_command,
        explain_command,
        import_csv_command,
        revoke_command,
        seed_demo_command,
        sync_command,
        token_command,
    ):
        app.cli.add_command(command)


@click.command("doctor")
@click.option("--url", help="Greendot's public URL, to test the way through proxies.")
@with_appcontext
def doctor_command(url: str | None) -> None:
    """Look for mistakes in this deployment, and say what to do.

    Run it where a web process runs, with the same settings. It changes nothing. The
    exit code is 1 if there is a problem. Warnings do not count.
    """
    # Imported here: a gateway has no use for what it needs.
    from app.doctor.checks import findings  # noqa: PLC0415
    from app.doctor.findings import Level  # noqa: PLC0415

    levels = []
    for finding in findings(services(), url):
        levels.append(finding.level)
        click.echo(finding.line)
    problems, warnings = levels.count(Level.PROBLEM), levels.count(Level.WARNING)
    click.echo(f"problems: {problems}, warnings: {warnings}")
    if problems:
        raise SystemExit(1)


@click.command("import-csv")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@with_appcontext
def import_csv_command(folder: Path) -> None:
    """Load users.csv, friendships.csv, conversations.csv and participants.csv.

    Each file in FOLDER is optional, but the last two belong together. If one row is
    wrong, nothing is loaded. Online users are notified at once.
    """
    with services().sessions() as session:
        try:
            found = import_csv(session, folder)
        except ImportFailed as error:
            raise click.ClickException(str(error)) from error
        except DBAPIError as error:
            raise click.ClickException(error_text(error)) from error
        commit_and_announce(session, found.change)
    gained, lost = len(found.change.gained), len(found.change.lost)
    click.echo(
        f"{found.users} users, {found.friendships} friendships, {found.conversations} "
        f"conversations with {found.participants} participants: "
        f"{gained} pairs see each other from now on, {lost} no longer do"
    )


@click.command("sync")
@click.option(
    "--from-csv",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder with the files.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change. Change nothing.")
@click.option(
    "--allow-deletes",
    metavar="PERCENT",
    default=str(DEFAULT_ALLOWED),
    show_default=True,
    callback=lambda _context, _option, text: _percent(text),
    help="Refuse to delete more than this share of any kind.",
)
@with_appcontext
def sync_command(folder: Path, *, dry_run: bool, allow_deletes: float) -> None:
    """Make the graph what users.csv, friendships.csv, conversations.csv and
    participants.csv say.

    Each file is optional, and the whole truth about its kind: what it does not list is
    deleted. A kind without a file is left alone. Online users are notified at once. If
    the command is interrupted, run it again.

    Exit code 0: all rows are as in the files. 1: refused or failed. 3: done, but some
    rows were wrong and are left out.
    """
    try:
        plan = sync.make_plan(folder)
    except ImportFailed as error:
        raise click.ClickException(str(error)) from error
    except DBAPIError as error:
        raise click.ClickException(error_text(error)) from error
    for line in sync.bad_rows(plan):
        click.echo(line, err=True)
    for line in sync.summary(plan):
        click.echo(line)
    if refused := list(sync.too_many_deletes(plan, allow_deletes)):
        message = (
            f"this would delete {', '.join(refused)}. More than {allow_deletes:g} % "
            "is refused, so nothing is changed. Check that the files are complete. If "
            "they are, add --allow-deletes PERCENT"
        )
        raise click.ClickException(message)
    if dry_run:
        click.echo("Nothing is changed (--dry-run)")
    else:
        _apply(plan)
    if plan.bad_rows:
        click.echo(f"{len(plan.bad_rows):,} bad rows are left out", err=True)
        click.get_current_context().exit(BAD_ROWS)


def _apply(plan: SyncPlan) -> None:
    from tqdm import tqdm  # noqa: PLC0415 - no other command needs it

    sync.step_back()
    with tqdm(total=len(plan), unit=" rows", disable=None) as bar:
        try:
            sync.apply(plan, bar.update)
        except DBAPIError as error:
            message = (
                f"{error_text(error)}. A part of the changes is made. Run the command "
                "again for the rest"
            )
            raise click.ClickException(message) from error
    click.echo("Done" if len(plan) else "Nothing had to change")


def _percent(text: str) -> float:
    try:
        share = float(text.removesuffix("%"))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 100:  # noqa: PLR2004
        message = f"{text} is not a number from 0 to 100"
        raise click.BadParameter(message)
    return share


@click.command("seed-demo")
@with_appcontext
def seed_demo_command() -> None:
    """Create the demo's users, friendships and conversations (repeatable)."""
    with services().sessions() as session:
        change = load_bulk(session, _DEMO_NAMES, _DEMO_FRIENDSHIPS, _DEMO_CONVERSATIONS)
        commit_and_announce(session, change)
    click.echo(f"The demo has {len(_DEMO_NAMES)} users: {', '.join(_DEMO_NAMES)}")


@click.command("token")
@click.argument("user")
@click.option(
    "--lifetime",
    type=click.IntRange(min=1),
    default=_DAY_SECONDS,
    show_default=True,
    help="Seconds until the token expires.",
)
@with_appcontext
def token_command(user: str, lifetime: int) -> None:
    """Print a token that signs in as USER."""
    user_id = _user_id(user)
    try:
        token = issue_token(services().settings, user_id, lifetime)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(token)


@click.command("revoke")
@click.argument("user")
@with_appcontext
def revoke_command(user: str) -> None:
    """Refuse all tokens and tickets that USER has got up to now, and close their
    sockets."""
    user_id = _user_id(user)
    try:
        revoke_user(user_id)
    except DBAPIError as error:
        raise click.ClickException(error_text(error)) from error
    click.echo(f"The tokens of {user_id} that were issued up to now are refused")


@click.command("explain")
@click.argument("user")
@click.option("--viewer", help="Also say what this user sees, and why.")
@with_appcontext
def explain_command(user: str, viewer: str | None) -> None:
    """Say what Greendot knows about USER: connections, transitions and detail."""
    user_id = _user_id(user)
    viewer_id = None if viewer is None else _user_id(viewer, "--viewer")
    current = services()
    try:
        with current.sessions() as session:
            found = explain(session, current.presence, user_id, viewer_id)
    except DBAPIError as error:
        raise click.ClickException(error_text(error)) from error
    except (NoSuchUser, PresenceUnavailable) as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(explanation_lines(found)))


def _user_id(text: str, named: str = "USER") -> str:
    try:
        return check_user_id(text)
    except InvalidIdentifier as error:
        raise click.BadParameter(str(error), param_hint=named) from error
