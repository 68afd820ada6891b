import { redirect } from "next/navigation";
import { Friends } from "./friends.js";
import { session } from "./session.js";

async function login(form) {
  "use server"; // in your application: with a password
  const mine = await session();
  mine.user = form.get("name");
  await mine.save();
  redirect("/");
}

export default async function Page() {
  const { user } = await session();
  return (
    <>
      <form action={login}>
        <label>
          Your name <input name="name" required />
        </label>{" "}
        <button>Sign in</button>
      </form>
      <h1 id="me">{user ? `You are ${user}` : "Not signed in"}</h1>
      {user && <Friends />}
    </>
  );
}
