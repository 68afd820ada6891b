"""The demo: two users side by side, each with a socket, and the page of one user.

The demo lets anybody sign in as anybody. So it exists only if `PRESENCE_DEMO` is on.
Otherwise `/` is a plain page that says what runs here.
"""

from __future__ import annotations

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    redirect,
    request,
    url_for,
)
from werkzeug import Response as AnyResponse

from app.announce import commit_and_announce
from app.auth import COOKIE, require_user
from app.demo.docs import document
from app.demo.people import everybody, name_of, people_of
from app.errors import ApiError
from app.security_headers import page
from app.services import services
from app.tokens import issue_token
from models.sql.friendship import FriendshipStatus
from models.sql.graph import delete_friendship, put_friendship

SIGNED_IN_SECONDS = 12 * 3600
NOTHING = ("", 204)

pages = Blueprint("pages", __name__)
demo = Blueprint("demo", __name__)


def register(app: Flask) -> None:
    """Serve `/`: the demo page or the plain one."""
    with app.app_context():
        app.register_blueprint(demo if services().settings.demo else pages)
    app.add_url_rule("/favicon.ico", view_func=favicon)


def favicon() -> Response:
    """The icon. Browsers request it with every page, even with JSON."""
    return current_app.send_static_file("demo/icon.svg")


@pages.get("/")
def plain() -> Response:
    """A page that says what runs here, for visitors of a production server."""
    return page("plain.html")


@demo.get("/")
def front() -> Response:
    """Several users in one window, each with its own socket."""
    with services().sessions() as session:
        users = everybody(session)
    settings = services().settings
    return page(
        "demo/side_by_side.html",
        users=users,
        settings=settings,
        seconds=_seconds,
        has_operators=settings.service_key is not None,
    )


@demo.get("/side-by-side")
def side_by_side() -> AnyResponse:
    """The front page had this address before."""
    users = request.args.getlist("user")
    return redirect(url_for("demo.front", user=users), code=301)


@demo.get("/docs/")
@demo.get("/docs/<path:name>")
def docs(name: str = "") -> Response:
    """A page of the documentation."""
    return document(name)


@demo.get("/one")
def one() -> Response:
    """The friends page of the signed-in user, or the choice of a user."""
    with services().sessions() as session:
        user_id = _signed_in()
        name = None if user_id is None else name_of(session, user_id)
        if name is None:
            return page("demo/welcome.html", users=everybody(session))
    return page("demo/friends.html", user_id=user_id, name=name)


@demo.post("/demo/sign-in")
def sign_in() -> AnyResponse:
    """Sign in as the form's `user_id`: set the cookie that REST and /ws take."""
    # If a form is not URL-encoded, the `+` in an id arrives as a space.
    user_id = _known_user(request.form.get("user_id", "").replace(" ", "+"))
    token = issue_token(services().settings, user_id, SIGNED_IN_SECONDS)
    response = redirect(url_for("demo.one"), code=303)
    response.set_cookie(
        COOKIE,
        token,
        max_age=SIGNED_IN_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure,
    )
    return response


@demo.post("/demo/sign-out")
def sign_out() -> AnyResponse:
    """Delete the cookie. The page's script has already sent `leave`."""
    response = redirect(url_for("demo.one"), code=303)
    response.delete_cookie(
        COOKIE, httponly=True, samesite="Lax", secure=request.is_secure
    )
    return response


@demo.get("/demo/people")
def people() -> dict[str, object]:
    """Names for the ids in the caller's status map, and the caller's conversations."""
    with services().sessions() as session:
        return {"data": people_of(session, require_user())}


@demo.post("/demo/token")
def token() -> dict[str, object]:
    """A token of the user in `{"user_id"}`, for the page that shows several users."""
    body = request.get_json(silent=True)
    user_id = _known_user(body.get("user_id") if isinstance(body, dict) else None)
    issued = issue_token(services().settings, user_id, SIGNED_IN_SECONDS)
    return {"data": {"user_id": user_id, "token": issued}}


@demo.put("/demo/friendships/<one>/<other>")
def befriend(one: str, other: str) -> tuple[str, int]:
    """Make the two users friends. A host application would use the admin API."""
    _two_users(one, other)
    with services().sessions() as session:
        change = put_friendship(session, one, other, FriendshipStatus.ACCEPTED)
        commit_and_announce(session, change)
    return NOTHING


@demo.delete("/demo/friendships/<one>/<other>")
def unfriend(one: str, other: str) -> tuple[str, int]:
    """End the friendship of the two users."""
    _two_users(one, other)
    with services().sessions() as session:
        change = delete_friendship(session, one, other)
        commit_and_announce(session, change)
    return NOTHING


def _seconds(amount: float) -> str:
    return "1 second" if amount == 1 else f"{amount:g} seconds"


def _signed_in() -> str | None:
    try:
        return require_user()
    except ApiError:
        return None


def _two_users(one: str, other: str) -> None:
    if _known_user(one) == _known_user(other):
        code, message = "same_user", "a user cannot be a friend of themselves"
        raise ApiError(422, code, message)


def _known_user(user_id: object) -> str:
    with services().sessions() as session:
        if not isinstance(user_id, str) or name_of(session, user_id) is None:
            code, message = "unknown_user", "user_id is one of the demo's users"
            raise ApiError(404, code, message)
    return user_id
