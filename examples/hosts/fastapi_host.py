"""The same with FastAPI: uvicorn fastapi_host:app --port 5000."""

import os
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.sessions import SessionMiddleware

from greendot_client import Admin

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parent.parent / "app/static/greendot"  # or a copy of that folder
GREENDOT = os.environ["GREENDOT_URL"]
FRIENDS = {"ann": ["bob"], "bob": ["ann"]}  # in your application: its database

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ["SECRET_KEY"])
app.mount("/greendot", StaticFiles(directory=CLIENT))
admin = Admin(GREENDOT, os.environ["KEY"])


@app.get("/")
def page():
    return FileResponse(HERE / "page.html")


@app.post("/login")
async def login(request: Request):  # in your application: with a password
    request.session["user"] = parse_qs((await request.body()).decode())["name"][0]
    return RedirectResponse("/", status_code=303)


@app.post("/presence")
def presence(request: Request):  # no coroutine: `Admin` blocks
    if (user := request.session.get("user")) is None:
        raise HTTPException(401)
    friends = FRIENDS.get(user, [])
    token = admin.sign_in(user, friends=friends).token
    return {"url": GREENDOT, "user": user, "friends": friends, "token": token}
