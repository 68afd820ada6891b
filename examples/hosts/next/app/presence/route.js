import { createAdmin } from "greendot-client/server";
import { session } from "../session.js";

const FRIENDS = { ann: ["bob"], bob: ["ann"] }; // in your application: its database

export async function POST() {
  const { GREENDOT_URL: url, KEY: key } = process.env;
  const { user } = await session();
  if (user === undefined) return new Response(null, { status: 401 });
  const friends = FRIENDS[user] ?? [];
  const { token } = await createAdmin({ url, key }).signIn(user, { friends });
  return Response.json({ url, user, friends, token });
}
