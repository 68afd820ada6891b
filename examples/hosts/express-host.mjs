/** The same with Express: npm install && PORT=5000 node express-host.mjs */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import express from "express";
import session from "express-session";
import { createAdmin } from "greendot-client/server";

const { GREENDOT_URL: url, KEY: key, SECRET_KEY: secret, PORT } = process.env;
const FRIENDS = { ann: ["bob"], bob: ["ann"] }; // in your application: its database
const admin = createAdmin({ url, key });
const client = dirname(fileURLToPath(import.meta.resolve("greendot-client")));

const app = express();
app.use(session({ secret, resave: false, saveUninitialized: false }));
app.use(express.urlencoded({ extended: false }));
app.use("/greendot", express.static(client));
app.get("/", (request, response) => response.sendFile("page.html", { root: import.meta.dirname }));
app.post("/login", (request, response) => {
  request.session.user = request.body.name; // in your application: with a password
  response.redirect("/");
});
app.post("/presence", async (request, response) => {
  const { user } = request.session;
  if (user === undefined) return response.sendStatus(401);
  const friends = FRIENDS[user] ?? [];
  const { token } = await admin.signIn(user, { friends });
  response.json({ url, user, friends, token });
});
app.listen(PORT, "127.0.0.1");
