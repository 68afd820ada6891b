/** A page with the real React and Zustand, to see who is rendered when. */

import {
  GreendotProvider,
  OnlineBadge,
  useConnection,
  useGreendot,
  useMyPresence,
  useOnlineFriends,
  usePresence,
} from "greendot-client/react";
import { StrictMode, createElement, useRef } from "react";
import { createRoot } from "react-dom/client";
import { useStore } from "zustand";

const { options, users, labels, mine } = window.test;

function useRenders() {
  const renders = useRef(0);
  renders.current += 1;
  return renders.current;
}

function Row({ id }) {
  const { online, lastSeen, known, availability, text, emoji } = usePresence(id);
  const renders = useRenders();
  return createElement(
    "li",
    { id, "data-renders": renders },
    createElement(OnlineBadge, labels ? { userId: id, labels } : { userId: id }),
    createElement("code", null, JSON.stringify({ online, known, seen: lastSeen !== null })),
    createElement("q", null, JSON.stringify([availability, text, emoji])),
  );
}

function Zustand({ id }) {
  const { store } = useGreendot();
  const online = useStore(store, (state) => state.statuses[id] === true);
  return createElement("p", { id: "zustand", "data-renders": useRenders() }, String(online));
}

function Friends() {
  return createElement("p", { id: "friends" }, useOnlineFriends().join(" "));
}

function Line() {
  window.client = useGreendot();
  return createElement("p", { id: "line" }, useConnection());
}

function Mine({ id }) {
  const { settings, error, change } = useMyPresence();
  window.change = change;
  const shown = error ? { error: error.name, status: error.status } : settings;
  return createElement("pre", { id }, JSON.stringify(shown));
}

const page = createElement(
  GreendotProvider,
  options,
  createElement("ul", null, ...users.map((id) => createElement(Row, { key: id, id }))),
  createElement(Zustand, { id: users[0] }),
  createElement(Friends),
  createElement(Line),
  ...(mine ? ["mine", "mine-again"].map((id) => createElement(Mine, { key: id, id })) : []),
);
window.root = createRoot(document.body.appendChild(document.createElement("div")));
window.root.render(window.test.strict ? createElement(StrictMode, null, page) : page);
