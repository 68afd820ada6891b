"""The routes of the operators' page: the state of the system, and a look at one user.

They exist only if there is a service key. Every page needs a signed-in operator.
Pages are HTML from the server. A small script fetches the state again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, redirect, request, url_for
from sqlalchemy.exc import SQLAlchemyError
from werkzeug import Response as AnyResponse

from app.announce import disconnect_user
from app.api.presence_settings import change_presence
from app.api.schema import bodies
from app.errors import ApiError
from app.operator_sessions import PATH
from app.operators import access, words
from app.operators.access import Operator
from app.operators.charts import HEIGHT, WIDTH, charts
from app.security_headers import page
from app.services import services
from models.explain import NoSuchUser, explain
from models.identifiers import TAKES, InvalidIdentifier, check_user_id
from models.presence import PresenceUnavailable
from models.sql.db import error_text, is_unavailable

log = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024
LATE_SWEEPS = 3
"""If no sweep ran for this many sweep intervals, the page says so."""

blueprint = Blueprint("operators", __name__, url_prefix=PATH)


@dataclass(frozen=True, slots=True)
class Action:
    """Something that an operator may do to a user, after a question."""

    title: str
    question: str
    done: str
    do: Callable[[str], object]


def _clear(user_id: str) -> None:
    nothing = bodies.SettingsChange(availability=None, text=None, emoji=None)
    change_presence(user_id, nothing, "host")


ACTIONS = {
    "disconnect": Action(
        "Disconnect",
        "All sockets of this user are closed with 4403. The user's tokens stay valid.",
        "The sockets of this user are closed.",
        disconnect_user,
    ),
    "clear": Action(
        "Clear",
        "The availability, text and emoji that your application has set are taken "
        "back. What the user has set by hand stays.",
        "What the application had set is taken back.",
        _clear,
    ),
}


def register(app: Flask) -> None:
    """Serve the page, if there is a service key."""
    with app.app_context():
        if services().settings.service_key is not None:
            app.register_blueprint(blueprint)


@blueprint.before_request
def _guard() -> Response | None:
    request.max_content_length = BODY_BYTES
    if request.endpoint == "operators.sign_in" or access.operator() is not None:
        return None
    # The front page with its form is no failure.
    return _sign_in_page(None, 200 if request.endpoint == "operators.front" else 401)


@blueprint.errorhandler(ApiError)
def _refused(error: ApiError) -> Response:
    return _problem(error.message, error.status)


@blueprint.errorhandler(PresenceUnavailable)
def _redis_away(error: PresenceUnavailable) -> Response:
    return _problem(f"Redis does not answer: {error}", 503)


@blueprint.errorhandler(SQLAlchemyError)
def _database_away(error: SQLAlchemyError) -> Response:
    if not is_unavailable(error):
        raise error
    return _problem(f"The database does not answer: {error_text(error)}", 503)


@blueprint.post("/sign-in")
def sign_in() -> AnyResponse:
    """Exchange the service key for a session."""
    access.check_origin()
    if not access.is_service_key(request.form.get("key", "")):
        log.warning("wrong key at the operators' page, from %s", request.remote_addr)
        return _sign_in_page("That is not the service key.")
    response = redirect(url_for("operators.front"), code=303)
    access.open_session(response)
    log.info("an operator has signed in, from %s", request.remote_addr)
    return response


@blueprint.post("/sign-out")
def sign_out() -> AnyResponse:
    """End the session in this browser."""
    access.check_form(_operator())
    response = redirect(url_for("operators.front"), code=303)
    access.end_session(response)
    return response


@blueprint.get("", strict_slashes=False)
def front() -> Response:
    """The state of the system."""
    return _page("operators/front.html", **_state())


@blueprint.get("/state")
def state() -> Response:
    """The part of the page that changes, as HTML. Its script fetches it."""
    return _page("operators/state.html", **_state())


@blueprint.get("/user")
def user() -> Response:
    """Why a user has this status, and what a viewer sees."""
    user_id, viewer = _asked("id"), _asked("viewer", is_optional=True)
    current = services()
    with current.sessions() as session:
        try:
            found = explain(session, current.presence, user_id, viewer or None)
        except NoSuchUser as error:
            raise ApiError(404, "not_found", str(error)) from None
    done = ACTIONS.get(request.args.get("done", ""))
    return _page(
        "operators/user.html",
        asked=user_id,
        asked_viewer=viewer,
        found=found,
        reasons=list(words.reasons(found)),
        actions=ACTIONS,
        done=done and done.done,
    )


@blueprint.post("/user/<name>")
def act(name: str) -> AnyResponse:
    """Ask whether to do something to a user. Do it if the operator has said yes."""
    access.check_form(_operator())
    user_id = _asked("id")
    action = ACTIONS.get(name)
    if action is None:
        raise ApiError(404, "not_found", f"there is no action {name}")
    if request.form.get("sure") != "yes":
        return _page("operators/sure.html", asked=user_id, name=name, action=action)
    action.do(user_id)
    who = _operator().name or "an operator"
    log.info("%s: %s, by %s, from %s", name, user_id, who, request.remote_addr)
    return redirect(url_for("operators.user", id=user_id, done=name), code=303)


def _state() -> dict[str, object]:
    """What the page shows of the system. If Redis is away, only that."""
    current = services()
    presence = current.presence
    found: dict[str, object] = {
        "problem": None,
        "connections": None,
        "charts": [],
        "gateways": [],
        "shards": len(presence.shards),
        "late_ms": LATE_SWEEPS * current.settings.sweep_interval * 1000,
        "width": WIDTH,
        "height": HEIGHT,
    }
    try:
        now = presence.now()
        found |= {
            "now": now,
            "overview": presence.overview(),
            "recent": presence.recent_transitions.read(),
            "receivers": [
                (_host(one.url), one)
                for one in presence.webhooks.states_where_possible()
            ],
        }
        gateways = presence.gateway_loads()
        found |= {
            "gateways": gateways,
            "connections": sum(one.connections for one in gateways),
            "charts": charts(presence.samples.read(), now),
        }
    except PresenceUnavailable as error:
        found["problem"] = f"Redis does not answer: {error}"
    return found


def _host(url: str) -> str:
    """A receiver without its path, which may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _asked(field: str, *, is_optional: bool = False) -> str:
    """An id in the query or the form. A decoded space in an id is a `+`."""
    given = request.values.get(field, "").strip().replace(" ", "+")
    if not given and is_optional:
        return ""
    try:
        return check_user_id(given)
    except InvalidIdentifier:
        message = f"an id of a user has {TAKES}"
        raise ApiError(400, "bad_request", message) from None


def _operator() -> Operator:
    who = access.operator()
    assert who is not None  # noqa: S101 - _guard has checked
    return who


def _page(template: str, **values: object) -> Response:
    who = _operator()
    return page(
        template,
        operator=who,
        token=access.form_token(who),
        duration_text=words.duration_text,
        utc_text=words.utc_text,
        **values,
    )


def _problem(message: str, status: int) -> Response:
    if access.operator() is None:
        response = page("operators/sign_in.html", problem=message)
    else:
        response = _page("operators/problem.html", problem=message)
    response.status_code = status
    return response


def _sign_in_page(problem: str | None, status: int = 401) -> Response:
    response = page("operators/sign_in.html", problem=problem)
    response.status_code = status
    return response
