/**
 * For the server of an application: the calls under `/api/admin`, and webhooks. It needs only
 * `fetch` and Web Crypto, so it runs in Node 20, Deno, Bun and workers. Never use it in a
 * browser, because the service key must stay secret. Times are milliseconds since the epoch.
 */

/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./my-presence.js").MyPresence} UserSettings */
/** @typedef {import("./my-presence.js").MyPresenceChanges} UserSettingsChanges */
/** @typedef {{ id: string, display_name: string }} User */
/** @typedef {{ id: string, title: string, participants: string[] }} Conversation */
/** @typedef {"accepted" | "pending" | "blocked"} FriendshipStatus */
/**
 * What a client signs in with. `expires_in` and `token_expires_in` are seconds. There is no
 * token if Greendot verifies tokens with public keys.
 * @typedef {{ ticket: string, expires_in: number, token?: string, token_expires_in?: number }} SignIn
 */
/**
 * The true status of a user. `devices` is the number of open connections.
 * @typedef {{ status: "online" | "offline", last_seen: number | null, idle_since: number | null,
 *   devices: number, detail: Detail | null }} UserStatus
 */
/**
 * How to reach a user. `idle_for` is seconds without input, or null.
 * @typedef {{ online: boolean, idle_for: number | null,
 *   availability: Detail["availability"] | null,
 *   suggest: "socket" | "push" | "silent" }} Reachability
 */
/** @typedef {{ online_users: number, connections: number, gateways: number, users: number }} Stats */
/** @typedef {{ start: number, end: number | null }} Session `end` is null while it lasts */
/**
 * @typedef {{ url: string, state: "active" | "failing" | "disabled", pending: number,
 *   last_error: string | null }} WebhookReceiver
 */
/**
 * A change in a webhook. For each user only the greatest `version` counts: an event may come
 * twice, late or in another order.
 * @typedef {{ type: "user.online" | "user.offline" | "user.detail_changed", user_id: string,
 *   status: "online" | "offline", version: number, detail?: Detail }} PresenceEvent
 */
/**
 * Rows to write and to delete: all of them, or none if one is wrong. A friendship is two ids,
 * or two ids and a status.
 * @typedef {{ users?: User[], friendships?: string[][], conversations?: Conversation[],
 *   delete?: { users?: string[], friendships?: string[][], conversations?: string[] } }} BulkRows
 */
/**
 * A page of a list. `next_cursor` is null on the last page.
 * @template {string} Name
 * @template Item
 * @typedef {{ [name in Name]: Item[] } & { next_cursor: string | null }} Page
 */

const PREFIX = "/api/admin";
const MAX_PAGE = 1000;
const TIMEOUT = 30_000;
const SIGNED_TYPE = "presence.changed";
const SECRET = /^whsec_([A-Za-z0-9+/]+={0,2})$/;
const SIGNATURE = /^v1,([A-Za-z0-9+/]+={0,2})$/;
/** Seconds by which the time of a webhook may differ from ours, as in its own libraries. */
const TOLERANCE = 300;

/** Greendot refused a call. `status`, `code` and `message` say why. */
export class AdminError extends Error {
  /**
   * @param {number} status
   * @param {string} code for programs, such as `not_found`. Empty if the answer comes from
   *   something else, such as a proxy
   * @param {string} message
   */
  constructor(status, code, message) {
    super(`the server answered ${status} ${code}: ${message}`);
    this.name = "AdminError";
    this.status = status;
    this.code = code;
  }
}

/** A request is no webhook of Greendot's, or it is too old. Answer it with 401. */
export class InvalidWebhook extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "InvalidWebhook";
  }
}

/**
 * The routes for the host application, one method each. A promise is rejected with `AdminError`
 * if Greendot refuses the call, and with the error of `fetch` if it does not answer. All calls
 * may be repeated.
 *
 * @param {object} options
 * @param {string} options.url where Greendot runs
 * @param {string} options.key its `PRESENCE_SERVICE_KEY`
 * @param {number} [options.timeout] milliseconds for each call. Default: 30,000
 * @param {typeof globalThis.fetch} [options.fetch]
 */
export function createAdmin({ url, key, timeout = TIMEOUT, fetch = globalThis.fetch }) {
  const base = new URL(url).href.replace(/\/+$/, "") + PREFIX;

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>} the `data` of the answer
   */
  async function call(method, path, body) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${key}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(base + path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      redirect: "manual", // it would show the key to another server
      signal: AbortSignal.timeout(timeout),
    });
    if (answer.status === 204) return {};
    const content = await answer.json().catch(() => null);
    if (answer.ok && content?.data) return content.data;
    const { code = "", message = "the answer is not in Greendot's format" } =
      content?.error ?? {};
    throw new AdminError(answer.status, code, message);
  }

  /**
   * @template Item
   * @param {(cursor: string | null) => Promise<{ next_cursor: string | null }>} page
   * @param {string} name
   * @returns {AsyncGenerator<Item, void, void>}
   */
  async function* all(page, name) {
    /** @type {string | null} */
    let cursor = null;
    do {
      /** @type {any} */
      const found = await page(cursor);
      yield* found[name];
      cursor = found.next_cursor;
    } while (cursor !== null);
  }

  const admin = {
    /**
     * Let a user connect. Creates the user. Sets the display name and replaces the friends if
     * they are given, and keeps them otherwise.
     * @param {string} userId
     * @param {{ display_name?: string, friends?: string[] }} [user]
     * @returns {Promise<SignIn>}
     */
    signIn: (userId, user = {}) => call("POST", path("users", userId, "ticket"), user),

    /**
     * Refuse all tokens and tickets that the user has got up to now, and close their sockets.
     * @param {string} userId
     * @returns {Promise<void>}
     */
    revoke: (userId) => call("POST", path("users", userId, "revoke")),

    /**
     * Close all sockets of a user. The tokens stay valid.
     * @param {string} userId
     * @returns {Promise<void>}
     */
    disconnect: (userId) => call("POST", path("users", userId, "disconnect")),

    /**
     * @param {string[]} userIds at most 10,000
     * @returns {Promise<Record<string, boolean>>} which of them are online
     */
    onlineStatus: async (userIds) =>
      (await call("POST", "/online-status", { user_ids: userIds })).statuses,

    /**
     * @param {string[]} userIds at most 10,000
     * @returns {Promise<Record<string, UserStatus>>} how they are online
     */
    userStatuses: async (userIds) =>
      (await call("POST", "/online-status", { user_ids: userIds, detail: true })).statuses,

    /**
     * @param {string[]} userIds at most 10,000
     * @returns {Promise<Record<string, Reachability>>}
     */
    reachability: async (userIds) =>
      (await call("POST", "/reachability", { user_ids: userIds })).users,

    /**
     * @param {string | null} [cursor]
     * @param {number} [limit]
     * @returns {Promise<Page<"user_ids", string>>}
     */
    onlineUsersPage: (cursor, limit = MAX_PAGE) =>
      call("GET", path("online-users") + query({ cursor, limit })),

    /** @returns {AsyncGenerator<string>} the ids of all users who are online, some perhaps twice */
    onlineUsers: () => all((cursor) => admin.onlineUsersPage(cursor), "user_ids"),

    /** @returns {Promise<Stats>} */
    stats: () => call("GET", "/stats"),

    /**
     * @param {string} userId
     * @param {string | null} [cursor]
     * @param {{ since?: number, limit?: number }} [options]
     * @returns {Promise<Page<"sessions", Session>>}
     */
    sessionsPage: (userId, cursor, { since, limit = MAX_PAGE } = {}) =>
      call("GET", path("users", userId, "sessions") + query({ since, cursor, limit })),

    /**
     * @param {string} userId
     * @param {number} [since]
     * @returns {AsyncGenerator<Session>} Greendot keeps them if `PRESENCE_SESSION_DAYS` is set
     */
    sessions: (userId, since) =>
      all((cursor) => admin.sessionsPage(userId, cursor, since === undefined ? {} : { since }), "sessions"),

    /**
     * What Greendot knows about a user, and what the viewer sees and why, for people who look
     * for a fault. docs/PROTOCOL.md has the fields.
     * @param {string} userId
     * @param {string} [viewer]
     * @returns {Promise<any>}
     */
    explain: (userId, viewer) =>
      call("GET", path("users", userId, "explain") + query({ viewer })),

    /**
     * Create a user, or change the display name.
     * @param {string} userId
     * @param {string} displayName
     * @returns {Promise<User>}
     */
    putUser: (userId, displayName) =>
      call("PUT", path("users", userId), { display_name: displayName }),

    /**
     * @param {string} userId
     * @returns {Promise<User>}
     */
    user: (userId) => call("GET", path("users", userId)),

    /**
     * Delete a user with all friendships, and close the user's sockets.
     * @param {string} userId
     * @returns {Promise<void>}
     */
    deleteUser: (userId) => call("DELETE", path("users", userId)),

    /**
     * @param {string | null} [cursor]
     * @param {number} [limit]
     * @returns {Promise<Page<"users", User>>}
     */
    usersPage: (cursor, limit = MAX_PAGE) =>
      call("GET", path("users") + query({ cursor, limit })),

    /** @returns {AsyncGenerator<User>} all users, in the order of their ids */
    users: () => all((cursor) => admin.usersPage(cursor), "users"),

    /**
     * @param {string} userId
     * @returns {Promise<string[]>} the ids of the accepted friends
     */
    friends: async (userId) => (await call("GET", path("users", userId, "friends"))).friends,

    /**
     * @param {string} userId
     * @param {string[]} friends at most 5,000
     * @returns {Promise<string[]>} those that are stored: a blocked pair stays blocked
     */
    replaceFriends: async (userId, friends) =>
      (await call("PUT", path("users", userId, "friends"), { friends })).friends,

    /**
     * @param {string} a
     * @param {string} b
     * @param {FriendshipStatus} [status]
     * @returns {Promise<{ user_a: string, user_b: string, status: FriendshipStatus }>}
     */
    putFriendship: (a, b, status = "accepted") =>
      call("PUT", path("friendships", a, b), { status }),

    /**
     * @param {string} a
     * @param {string} b
     * @returns {Promise<void>}
     */
    deleteFriendship: (a, b) => call("DELETE", path("friendships", a, b)),

    /**
     * Create a conversation, or replace its title and its participants.
     * @param {string} conversationId
     * @param {string} title
     * @param {string[]} participants at most 5,000
     * @returns {Promise<Conversation>}
     */
    putConversation: (conversationId, title, participants) =>
      call("PUT", path("conversations", conversationId), { title, participants }),

    /**
     * @param {string} conversationId
     * @returns {Promise<Conversation>}
     */
    conversation: (conversationId) => call("GET", path("conversations", conversationId)),

    /**
     * Delete a conversation. The users stay.
     * @param {string} conversationId
     * @returns {Promise<void>}
     */
    deleteConversation: (conversationId) =>
      call("DELETE", path("conversations", conversationId)),

    /**
     * @param {string | null} [cursor]
     * @param {number} [limit]
     * @returns {Promise<Page<"conversations", Conversation>>}
     */
    conversationsPage: (cursor, limit = MAX_PAGE) =>
      call("GET", path("conversations") + query({ cursor, limit })),

    /** @returns {AsyncGenerator<Conversation>} all conversations, in the order of their ids */
    conversations: () => all((cursor) => admin.conversationsPage(cursor), "conversations"),

    /**
     * Let a user join a conversation.
     * @param {string} conversationId
     * @param {string} userId
     * @returns {Promise<{ conversation_id: string, user_id: string }>}
     */
    addParticipant: (conversationId, userId) =>
      call("POST", path("conversations", conversationId, "participants", userId)),

    /**
     * Let a user leave a conversation.
     * @param {string} conversationId
     * @param {string} userId
     * @returns {Promise<void>}
     */
    removeParticipant: (conversationId, userId) =>
      call("DELETE", path("conversations", conversationId, "participants", userId)),

    /**
     * @param {BulkRows} rows
     * @returns {Promise<any>} how many rows there were
     */
    bulk: (rows) => call("POST", "/bulk", rows),

    /**
     * A user's settings. `availability`, `text`, `emoji` and `expires_at` are those that the
     * host has set.
     * @param {string} userId
     * @returns {Promise<UserSettings>}
     */
    settings: (userId) => call("GET", path("users", userId, "presence")),

    /**
     * @param {string} userId
     * @param {UserSettingsChanges} changes
     * @returns {Promise<UserSettings>} all settings
     */
    changeSettings: (userId, changes) =>
      call("PATCH", path("users", userId, "presence"), changes),

    /** @returns {Promise<WebhookReceiver[]>} your servers that hear of changes */
    webhooks: async () => (await call("GET", "/webhooks")).webhooks,

    /**
     * Send to a receiver again, at once, after it was disabled or has failed.
     * @param {string} receiver its URL
     * @returns {Promise<WebhookReceiver>}
     */
    enableWebhook: (receiver) => call("POST", "/webhooks/enable", { url: receiver }),
  };
  return admin;
}

/**
 * The events of a webhook (https://www.standardwebhooks.com, version 1). A webhook of another
 * type has none.
 *
 * @param {string | string[]} secrets `whsec_...`. One of them must have signed it
 * @param {Headers | Record<string, string | string[] | undefined>} headers all of the request
 * @param {string | Uint8Array} body as it came: encoded again it has another signature
 * @param {number} [now] seconds since the epoch
 * @returns {Promise<PresenceEvent[]>} rejected with `InvalidWebhook` if no secret has signed
 *   it, if it is older than five minutes, or if a header is missing
 */
export async function verifyWebhook(secrets, headers, body, now = Date.now() / 1000) {
  const id = header(headers, "webhook-id");
  const sentAt = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature").split(" ");
  if (!/^\d+$/.test(sentAt) || Math.abs(now - Number(sentAt)) > TOLERANCE) {
    throw new InvalidWebhook("the webhook has no time, or was not sent just now");
  }
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const start = new TextEncoder().encode(`${id}.${sentAt}.`);
  const signed = new Uint8Array(start.length + bytes.length);
  signed.set(start);
  signed.set(bytes, start.length);
  const keys = await Promise.all([secrets].flat().map(keyOf));
  const checks = signatures.flatMap((one) => keys.map((key) => isSigned(key, one, signed)));
  if (!(await Promise.all(checks)).includes(true)) {
    throw new InvalidWebhook("none of the secrets has signed the webhook");
  }
  return events(new TextDecoder().decode(bytes));
}

/**
 * @param {Headers | Record<string, string | string[] | undefined>} headers
 * @param {string} name in lower case
 */
function header(headers, name) {
  const pairs = headers instanceof Headers ? [...headers] : Object.entries(headers);
  const value = pairs.find(([one]) => one.toLowerCase() === name)?.[1];
  if (typeof value === "string") return value;
  throw new InvalidWebhook(`there is no header ${name}`);
}

/** @param {string} secret */
function keyOf(secret) {
  const bytes = decode(SECRET.exec(secret)?.[1]);
  if (bytes === null) throw new TypeError("a webhook secret has the form whsec_...");
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey("raw", bytes, algorithm, false, ["verify"]);
}

/**
 * @param {CryptoKey} key
 * @param {string} signature `v1,` and base64
 * @param {Uint8Array<ArrayBuffer>} signed
 */
async function isSigned(key, signature, signed) {
  const bytes = decode(SIGNATURE.exec(signature)?.[1]);
  return bytes !== null && crypto.subtle.verify("HMAC", key, bytes, signed);
}

/**
 * @param {string | undefined} base64
 * @returns {Uint8Array<ArrayBuffer> | null} null if it is not base64
 */
function decode(base64) {
  if (base64 === undefined) return null;
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}

/**
 * @param {string} body
 * @returns {PresenceEvent[]}
 */
function events(body) {
  try {
    const content = JSON.parse(body);
    if (content.type !== SIGNED_TYPE) return [];
    if (Array.isArray(content.data.events)) return content.data.events;
  } catch {
    // It is signed, but it is not what we know.
  }
  throw new InvalidWebhook("the webhook is not in Greendot's format");
}

/** @param {string[]} parts ids may have any character */
const path = (...parts) => parts.map((part) => `/${encodeURIComponent(part)}`).join("");

/** @param {Record<string, string | number | null | undefined>} options */
function query(options) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(options)) {
    if (value !== null && value !== undefined) given.set(name, String(value));
  }
  return given.size === 0 ? "" : `?${given}`;
}
