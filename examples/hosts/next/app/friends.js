"use client";
import { GreendotProvider, usePresence } from "greendot-client/react";
import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";

const presence = async () => {
  const answer = await fetch("/presence", { method: "POST" });
  if (answer.status === 401) return null; // nobody is signed in
  if (!answer.ok) throw new Error(`/presence answered ${answer.status}`);
  return answer.json();
};
const token = async () => (await presence())?.token ?? null;

function Friend({ id }) {
  return <li>{`${usePresence(id).online ? "🟢" : "⚪"} ${id}`}</li>;
}

export function Friends() {
  const [known, setKnown] = useState(null);
  const { refresh } = useRouter();
  useEffect(() => void presence().then(setKnown), []);
  return (
    known && (
      // When nobody is signed in any more, the server renders the page without friends.
      <GreendotProvider url={known.url} token={token} onDenied={() => refresh()}>
        <ul id="friends">{known.friends.map((id) => <Friend key={id} id={id} />)}</ul>
      </GreendotProvider>
    )
  );
}
