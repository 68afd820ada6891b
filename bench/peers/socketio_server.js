// Presence with socket.io, as its documentation would have it: a room per user, the
// Redis adapter, a JWT in the `auth` of the connection. It follows its page on
// performance: the native add-on of ws, and the first request set free. The online users
// and the friendships are kept in memory: the quickest way there is, and enough for one
// process. It tells every client the same as Greendot does.

import { createSecretKey } from "node:crypto";
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import express from "express";
import jwt from "jsonwebtoken";
import { createClient } from "redis";
import { Server } from "socket.io";

const { BENCH_SECRET, BENCH_GRAPH, REDIS_URL: url, PORT } = process.env;
const secret = createSecretKey(Buffer.from(BENCH_SECRET));
const graph = JSON.parse(BENCH_GRAPH);

function friendNumbers(user) {
  if (graph.kind === "star") {
    return user ? [0] : Array.from({ length: graph.users - 1 }, (_, i) => i + 1);
  }
  const numbers = [];
  for (let step = 1; step <= Math.floor(graph.friends / 2); step += 1) {
    numbers.push((user + step) % graph.users, (user - step + graph.users) % graph.users);
  }
  return numbers;
}

const friends = new Map();
for (let user = 0; user < graph.users; user += 1) {
  friends.set(`u${user}`, friendNumbers(user).map((number) => `u${number}`));
}
const connections = new Map();
const updatedAt = new Map();

const app = express();
const httpServer = createServer(app);
// In a storm an answer takes longer than the client's five seconds, and the adapter leaves
// the error to nobody: the process would end.
const pubClient = createClient({ url, commandOptions: { timeout: 120_000 } });
const subClient = pubClient.duplicate();
await Promise.all([pubClient.connect(), subClient.connect()]);

const io = new Server(httpServer, {
  adapter: createAdapter(pubClient, subClient),
  transports: ["websocket"],
});
io.engine.on("connection", (rawSocket) => {
  rawSocket.request = null;
});

// As many verified tokens as Greendot remembers, the last used ones: so that is no
// difference. A Map has its keys in the order in which they were set.
const TOKENS_REMEMBERED = 4096;
const verified = new Map();

function authenticated(token) {
  let claims = verified.get(token);
  if (claims === undefined) {
    claims = jwt.verify(token, secret, { algorithms: ["HS256"] });
    if (verified.size === TOKENS_REMEMBERED) {
      verified.delete(verified.keys().next().value);
    }
  } else {
    verified.delete(token);
  }
  verified.set(token, claims);
  if (claims.exp <= Date.now() / 1000) {
    throw new Error("the token has expired");
  }
  return claims.sub;
}

io.use((socket, next) => {
  try {
    socket.data.user = authenticated(socket.handshake.auth.token);
    next();
  } catch {
    next(new Error("unauthorized"));
  }
});

function announce(user, status) {
  const timestamp = Date.now();
  updatedAt.set(user, timestamp);
  const rooms = friends.get(user).filter((friend) => connections.has(friend));
  if (rooms.length > 0) {
    io.to(rooms).emit("friend_status_changed", { user_id: user, status, timestamp });
  }
}

io.on("connection", (socket) => {
  const { user } = socket.data;
  socket.join(user);
  const open = (connections.get(user) ?? 0) + 1;
  connections.set(user, open);
  if (open === 1) {
    announce(user, "online");
  }
  const statuses = {};
  for (const friend of friends.get(user)) {
    const status = connections.has(friend) ? "online" : "offline";
    statuses[friend] = { status, timestamp: updatedAt.get(friend) ?? 0 };
  }
  socket.emit("presence_snapshot", { statuses });
  socket.on("disconnect", () => {
    const left = connections.get(user) - 1;
    if (left > 0) {
      connections.set(user, left);
    } else {
      connections.delete(user);
      announce(user, "offline");
    }
  });
});

app.get("/online-status", (request, response) => {
  const user = authenticated(request.get("Authorization").replace("Bearer ", ""));
  const statuses = {};
  for (const friend of friends.get(user)) {
    statuses[friend] = connections.has(friend);
  }
  response.json({ data: { statuses } });
});
app.get("/healthz", (_, response) => response.send("ok"));

httpServer.listen(Number(PORT), "127.0.0.1", 4096);
