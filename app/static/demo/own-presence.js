/** One's own presence: what it is, a menu that changes it, and why a change has failed. */

import { PresenceHttpError } from "../greendot/index.js";
import { showNote } from "./elements.js";
import { createSign, setLook } from "./look.js";
import { createMenuButton } from "./menu-button.js";
import { createPrivacyForm } from "./privacy-form.js";
import { createStatusForm } from "./status-form.js";

/** @typedef {import("../greendot/index.js").MyPresence} MyPresence */
/** @typedef {import("../greendot/index.js").MyPresenceChanges} MyPresenceChanges */
/** @typedef {import("../greendot/index.js").PresenceClient} PresenceClient */
/** @typedef {{id: string, display_name: string}} User */
/** @typedef {"active" | "away" | "dnd" | "invisible"} Choice */

const REFRESH = 15_000;

/** @type {Record<Choice, {look: import("./look.js").Look, label: string}>} */
const CHOICES = {
  active: { look: "online", label: "Active" },
  away: { look: "away", label: "Away" },
  dnd: { look: "dnd", label: "Do not disturb" },
  invisible: { look: "offline", label: "Invisible" },
};

/** @type {Record<string, typeof createStatusForm>} */
const FORMS = { status: createStatusForm, privacy: createPrivacyForm };

/**
 * @param {PresenceClient} client
 * @param {string} name of the client's user
 * @param {object} options
 * @param {() => User[]} options.people the user may make an exception for each
 * @param {(id: string) => string} options.nameOf
 * @returns {{
 *   root: HTMLElement,
 *   stop: () => void,
 *   choose: (choice: Choice) => void,
 *   showIdle: (idle: boolean, isReported: boolean) => void,
 * }} `choose`: as an item of the menu does. `showIdle`: say that the user has stepped away, and
 *   whether the server knows it
 */
export function createOwnPresence(client, name, { people, nameOf }) {
  const { store } = client;
  const root = cloneTemplate("own-presence");
  /** @param {string} selector */
  const find = (selector) => /** @type {HTMLElement} */ (root.querySelector(selector));
  const button = /** @type {HTMLButtonElement} */ (find(".own-button"));
  const menu = find("[role=menu]");
  const sign = createSign();
  button.prepend(sign);
  menu.setAttribute("aria-label", `Presence of ${name}`);
  for (const item of menu.querySelectorAll("[data-choice]")) {
    const itemSign = createSign();
    setLook(itemSign, CHOICES[/** @type {Choice} */ (item.getAttribute("data-choice"))].look);
    item.prepend(itemSign);
  }

  let idle = { idle: false, isReported: false };
  /** Who saw this user before the user became invisible. */
  let visibleTo = /** @type {MyPresence["visibility"]} */ ("everyone");
  let retry = () => {};

  function show() {
    const { myPresence } = store.getState();
    button.disabled = myPresence === null;
    if (myPresence === null) {
      setLook(sign, "unknown");
      find(".own-label").textContent = "…";
      button.setAttribute("aria-label", `Presence of ${name}`);
      setText(find(".own-spoken"), "");
      showNote(find(".own-note"), null, 0);
      setText(find(".own-privacy"), "");
      return;
    }
    if (myPresence.visibility !== "nobody") visibleTo = myPresence.visibility;
    const choice = choiceOf(myPresence);
    const isAway = choice === "active" && idle.idle;
    const { look, label } = CHOICES[isAway ? "away" : choice];
    setLook(sign, look);
    find(".own-label").textContent = label;
    setText(find(".own-spoken"), label);
    button.setAttribute("aria-label", `Presence of ${name}: ${label}`);
    for (const item of menu.querySelectorAll("[data-choice]")) {
      const isChecked = item.getAttribute("data-choice") === choice;
      item.setAttribute("aria-checked", String(isChecked));
    }
    const hasNote = myPresence.text !== null || myPresence.emoji !== null;
    find("[data-do=clear]").hidden = !hasNote;
    showNote(find(".own-note"), myPresence, Date.now());
    setText(find(".own-privacy"), [idleText(idle), ...privacyTexts(myPresence, nameOf)].join(" "));
  }

  /**
   * @param {MyPresenceChanges} changes
   * @returns {Promise<boolean>} whether the server has taken them
   */
  async function change(changes) {
    hideProblem();
    button.setAttribute("aria-busy", "true");
    try {
      await client.changeMyPresence(changes);
      return true;
    } catch (error) {
      showProblem(error, () => void change(changes));
      return false;
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  async function load() {
    hideProblem();
    await client.loadMyPresence().catch((error) => showProblem(error, load));
  }

  /**
   * @param {unknown} error
   * @param {() => void} again
   */
  function showProblem(error, again) {
    const { text, mayRetry } = explain(error);
    retry = again;
    find(".problem-text").textContent = text;
    // In an open form, Save tries again.
    find(".retry").hidden = !mayRetry || find(".own-form").hasChildNodes();
  }

  function hideProblem() {
    find(".problem-text").textContent = "";
    find(".retry").hidden = true;
  }

  /** @param {string} which */
  function openForm(which) {
    const settings = store.getState().myPresence;
    const create = FORMS[which];
    if (settings === null || create === undefined) return;
    hideProblem();
    const form = cloneTemplate(`${which}-form`);
    const close = () => {
      hideProblem();
      find(".own-form").replaceChildren();
      button.focus();
    };
    let isSaving = false;
    const readChanges = create(/** @type {HTMLFormElement} */ (form), { settings, people, nameOf });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (isSaving) return;
      const changes = readChanges();
      isSaving = true;
      const isSaved = Object.keys(changes).length === 0 || (await change(changes));
      isSaving = false;
      if (isSaved && form.isConnected) close();
    });
    form.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") close();
    });
    form.querySelector("[data-cancel]")?.addEventListener("click", close);
    find(".own-form").replaceChildren(form);
    /** @type {HTMLElement | null} */ (form.querySelector("input, select"))?.focus();
  }

  /** @param {Choice} choice */
  function choose(choice) {
    const isHidden = store.getState().myPresence?.visibility === "nobody";
    if (choice === "invisible") void change({ visibility: "nobody" });
    else void change({ availability: choice, ...(isHidden ? { visibility: visibleTo } : {}) });
  }

  createMenuButton(button, menu, ({ dataset }) => {
    const choice = /** @type {Choice | undefined} */ (dataset["choice"]);
    const settings = store.getState().myPresence;
    if (settings === null) return;
    if (choice !== undefined) choose(choice);
    else if (dataset["do"] === "clear") {
      const end = settings.availability === null ? { expires_at: null } : {};
      void change({ text: null, emoji: null, ...end });
    } else openForm(dataset["do"] ?? "");
  });
  find(".retry").addEventListener("click", () => {
    button.focus(); // the button that has the focus now is about to vanish
    retry();
  });

  show();
  const unsubscribe = store.subscribe((state, previous) => {
    if (state.myPresence !== previous.myPresence) show();
    const isBack = state.connection === "live" && previous.connection !== "live";
    if (isBack && state.myPresence === null) void load();
  });
  const timer = setInterval(show, REFRESH); // "until tomorrow" becomes "until 09:00" at midnight

  return {
    root,
    choose,
    showIdle(isIdle, isReported) {
      idle = { idle: isIdle, isReported };
      show();
    },
    stop() {
      unsubscribe();
      clearInterval(timer);
    },
  };
}

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function cloneTemplate(id) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
  const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  return /** @type {HTMLElement} */ (copy.firstElementChild);
}

/**
 * @param {HTMLElement} line
 * @param {string} text
 */
function setText(line, text) {
  const shown = text.trim();
  // A screen reader reads the line again with each change.
  if (line.textContent !== shown) line.textContent = shown;
}

/**
 * @param {MyPresence} settings
 * @returns {Choice}
 */
export const choiceOf = ({ visibility, availability }) =>
  visibility === "nobody" ? "invisible" : (availability ?? "active");

/** @param {{idle: boolean, isReported: boolean}} state */
function idleText({ idle, isReported }) {
  if (!idle) return "";
  if (isReported) return "Stepped away.";
  return "Stepped away. The client reports this within a minute.";
}

/**
 * @param {MyPresence} settings
 * @param {(id: string) => string} nameOf
 * @returns {string[]} what differs from the defaults, each as a sentence
 */
function privacyTexts({ visibility, last_seen, exceptions }, nameOf) {
  const names = (/** @type {string[]} */ ids) => ids.map(nameOf).join(", ");
  const { always, never } = exceptions;
  return [
    visibility === "friends" ? "Only friends see you." : "",
    visibility === "nobody" ? "The others see you as offline." : "",
    always.length > 0 ? `Always seen by ${names(always)}.` : "",
    never.length > 0 ? `Never seen by ${names(never)}.` : "",
    last_seen === "everyone" ? "" : `Last seen: ${last_seen}.`,
  ].filter((text) => text !== "");
}

/**
 * @param {unknown} error of a request
 * @returns {{text: string, mayRetry: boolean}} `mayRetry`: the same request may succeed later
 */
function explain(error) {
  if (!(error instanceof PresenceHttpError)) {
    const text = "The server does not answer. Your change may not be saved.";
    return { text, mayRetry: true };
  }
  if (error.code === "not_allowed") {
    const text = "Not saved: users of this server may not hide from others.";
    return { text, mayRetry: false };
  }
  if (error.status >= 500) {
    const text = `Not saved: the server cannot do this now (${error.status}). Try again soon.`;
    return { text, mayRetry: true };
  }
  const reason = error.message.split(": ").slice(1).join(": "); // without the URL
  const text = `Not saved: ${reason || `the server answered ${error.status}`}.`;
  return { text, mayRetry: false };
}
