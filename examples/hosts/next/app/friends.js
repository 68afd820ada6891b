"use client";
import { GreendotProvider, usePresence } from "greendot-client/react";
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
  useEffect(() => void presence().then(setKnown), []);
  return (
    known && (
      <GreendotProvider url={known.url} token={token}>
        <ul id="friends">{known.friends.map((id) => <Friend key={id} id={id} />)}</ul>
      </GreendotProvider>
    )
  );
}
