import { getIronSession } from "iron-session";
import { cookies } from "next/headers";

/** The sealed cookie of the signed-in user: `{user}`, or empty. */
export const session = async () =>
  getIronSession(await cookies(), {
    cookieName: "session",
    password: process.env.SECRET_KEY, // 32 characters or more
    cookieOptions: { secure: false }, // in your application: true
  });
