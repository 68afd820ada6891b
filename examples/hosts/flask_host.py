"""A Flask application with its own sign-in: flask --app flask_host run --port 5000."""

import os
from pathlib import Path

from flask import Flask, redirect, request, send_file, session

from greendot_client import Admin

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parent.parent / "app/static/greendot"  # or a copy of that folder
GREENDOT = os.environ["GREENDOT_URL"]
FRIENDS = {"ann": ["bob"], "bob": ["ann"]}  # in your application: its database

app = Flask(__name__, static_folder=CLIENT, static_url_path="/greendot")
app.secret_key = os.environ["SECRET_KEY"]
admin = Admin(GREENDOT, os.environ["KEY"])


@app.get("/")
def page():
    return send_file(HERE / "page.html")


@app.post("/login")
def login():  # in your application: with a password
    session["user"] = request.form["name"]
    return redirect("/")


@app.post("/presence")
def presence():
    if (user := session.get("user")) is None:
        return "", 401
    friends = FRIENDS.get(user, [])
    token = admin.sign_in(user, friends=friends).token
    return {"url": GREENDOT, "user": user, "friends": friends, "token": token}
