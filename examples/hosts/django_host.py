"""The same with Django, settings and all, in one file:
DJANGO_SETTINGS_MODULE=django_host python -m django runserver 5000."""

import os
from pathlib import Path

from django.http import FileResponse, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.http import require_POST
from django.views.static import serve

from greendot_client import Admin

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parent.parent / "app/static/greendot"  # or a copy of that folder
GREENDOT = os.environ["GREENDOT_URL"]
FRIENDS = {"ann": ["bob"], "bob": ["ann"]}  # in your application: its database

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
ROOT_URLCONF = __name__
admin = Admin(GREENDOT, os.environ["KEY"])


def page(_request):
    return FileResponse((HERE / "page.html").open("rb"))


@require_POST
def login(request):  # in your application: with a password
    request.session["user"] = request.POST["name"]
    return redirect("/")


@require_POST
def presence(request):
    if (user := request.session.get("user")) is None:
        return HttpResponse(status=401)
    friends = FRIENDS.get(user, [])
    token = admin.sign_in(user, friends=friends).token
    return JsonResponse(
        {"url": GREENDOT, "user": user, "friends": friends, "token": token}
    )


urlpatterns = [
    path("", page),
    path("login", login),
    path("presence", presence),
    path("greendot/<path:path>", serve, {"document_root": CLIENT}),
]
