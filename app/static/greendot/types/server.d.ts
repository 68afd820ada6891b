/**
 * For the server of an application: the calls under `/api/admin`, and webhooks. It needs only
 * `fetch` and Web Crypto, so it runs in Node 20, Deno, Bun and workers. Never use it in a
 * browser, because the service key must stay secret. Times are milliseconds since the epoch.
 */
export type Detail = import("./detail.js").Detail;
export type UserSettings = import("./my-presence.js").MyPresence;
export type UserSettingsChanges = import("./my-presence.js").MyPresenceChanges;
export type User = {
    id: string;
    display_name: string;
};
export type Conversation = {
    id: string;
    title: string;
    participants: string[];
};
export type FriendshipStatus = "accepted" | "pending" | "blocked";
export type SignIn = {
    ticket: string;
    expires_in: number;
    token?: string;
    token_expires_in?: number;
};
export type UserStatus = {
    status: "online" | "offline";
    last_seen: number | null;
    idle_since: number | null;
    devices: number;
    detail: Detail | null;
};
export type Reachability = {
    online: boolean;
    idle_for: number | null;
    availability: Detail["availability"] | null;
    suggest: "socket" | "push" | "silent";
};
export type Stats = {
    online_users: number;
    connections: number;
    gateways: number;
    users: number;
};
export type Session = {
    start: number;
    end: number | null;
};
export type WebhookReceiver = {
    url: string;
    state: "active" | "failing" | "disabled";
    pending: number;
    last_error: string | null;
};
export type PresenceEvent = {
    type: "user.online" | "user.offline" | "user.detail_changed";
    user_id: string;
    status: "online" | "offline";
    version: number;
    detail?: Detail;
};
export type BulkRows = {
    users?: User[];
    friendships?: string[][];
    conversations?: Conversation[];
    delete?: {
        users?: string[];
        friendships?: string[][];
        conversations?: string[];
    };
};
export type Page<Name extends string, Item> = {
    [name in Name]: Item[];
} & {
    next_cursor: string | null;
};
/** Greendot refused a call. `status`, `code` and `message` say why. */
export declare class AdminError extends Error {
    status: number;
    code: string;
    /**
     * @param {number} status
     * @param {string} code for programs, such as `not_found`. Empty if the answer comes from
     *   something else, such as a proxy
     * @param {string} message
     */
    constructor(status: number, code: string, message: string);
}
/** A request is no webhook of Greendot's, or it is too old. Answer it with 401. */
export declare class InvalidWebhook extends Error {
    /** @param {string} message */
    constructor(message: string);
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
export declare function createAdmin({ url, key, timeout, fetch }: {
    url: string;
    key: string;
    timeout?: number;
    fetch?: typeof globalThis.fetch;
}): {
    /**
     * Let a user connect. Creates the user. Sets the display name and replaces the friends if
     * they are given, and keeps them otherwise.
     * @param {string} userId
     * @param {{ display_name?: string, friends?: string[] }} [user]
     * @returns {Promise<SignIn>}
     */
    signIn: (userId: string, user?: {
        display_name?: string;
        friends?: string[];
    }) => Promise<SignIn>;
    /**
     * Refuse all tokens and tickets that the user has got up to now, and close their sockets.
     * @param {string} userId
     * @returns {Promise<void>}
     */
    revoke: (userId: string) => Promise<void>;
    /**
     * Close all sockets of a user. The tokens stay valid.
     * @param {string} userId
     * @returns {Promise<void>}
     */
    disconnect: (userId: string) => Promise<void>;
    /**
     * @param {string[]} userIds at most 10,000
     * @returns {Promise<Record<string, boolean>>} which of them are online
     */
    onlineStatus: (userIds: string[]) => Promise<Record<string, boolean>>;
    /**
     * @param {string[]} userIds at most 10,000
     * @returns {Promise<Record<string, UserStatus>>} how they are online
     */
    userStatuses: (userIds: string[]) => Promise<Record<string, UserStatus>>;
    /**
     * @param {string[]} userIds at most 10,000
     * @returns {Promise<Record<string, Reachability>>}
     */
    reachability: (userIds: string[]) => Promise<Record<string, Reachability>>;
    /**
     * @param {string | null} [cursor]
     * @param {number} [limit]
     * @returns {Promise<Page<"user_ids", string>>}
     */
    onlineUsersPage: (cursor?: string | null, limit?: number) => Promise<Page<"user_ids", string>>;
    /** @returns {AsyncGenerator<string>} the ids of all users who are online, some perhaps twice */
    onlineUsers: () => AsyncGenerator<string>;
    /** @returns {Promise<Stats>} */
    stats: () => Promise<Stats>;
    /**
     * @param {string} userId
     * @param {string | null} [cursor]
     * @param {{ since?: number, limit?: number }} [options]
     * @returns {Promise<Page<"sessions", Session>>}
     */
    sessionsPage: (userId: string, cursor?: string | null, { since, limit }?: {
        since?: number;
        limit?: number;
    }) => Promise<Page<"sessions", Session>>;
    /**
     * @param {string} userId
     * @param {number} [since]
     * @returns {AsyncGenerator<Session>} Greendot keeps them if `PRESENCE_SESSION_DAYS` is set
     */
    sessions: (userId: string, since?: number) => AsyncGenerator<Session>;
    /**
     * What Greendot knows about a user, and what the viewer sees and why, for people who look
     * for a fault. docs/PROTOCOL.md has the fields.
     * @param {string} userId
     * @param {string} [viewer]
     * @returns {Promise<any>}
     */
    explain: (userId: string, viewer?: string) => Promise<any>;
    /**
     * Create a user, or change the display name.
     * @param {string} userId
     * @param {string} displayName
     * @returns {Promise<User>}
     */
    putUser: (userId: string, displayName: string) => Promise<User>;
    /**
     * @param {string} userId
     * @returns {Promise<User>}
     */
    user: (userId: string) => Promise<User>;
    /**
     * Delete a user with all friendships, and close the user's sockets.
     * @param {string} userId
     * @returns {Promise<void>}
     */
    deleteUser: (userId: string) => Promise<void>;
    /**
     * @param {string | null} [cursor]
     * @param {number} [limit]
     * @returns {Promise<Page<"users", User>>}
     */
    usersPage: (cursor?: string | null, limit?: number) => Promise<Page<"users", User>>;
    /** @returns {AsyncGenerator<User>} all users, in the order of their ids */
    users: () => AsyncGenerator<User>;
    /**
     * @param {string} userId
     * @returns {Promise<string[]>} the ids of the accepted friends
     */
    friends: (userId: string) => Promise<string[]>;
    /**
     * @param {string} userId
     * @param {string[]} friends at most 5,000
     * @returns {Promise<string[]>} those that are stored: a blocked pair stays blocked
     */
    replaceFriends: (userId: string, friends: string[]) => Promise<string[]>;
    /**
     * @param {string} a
     * @param {string} b
     * @param {FriendshipStatus} [status]
     * @returns {Promise<{ user_a: string, user_b: string, status: FriendshipStatus }>}
     */
    putFriendship: (a: string, b: string, status?: FriendshipStatus) => Promise<{
        user_a: string;
        user_b: string;
        status: FriendshipStatus;
    }>;
    /**
     * @param {string} a
     * @param {string} b
     * @returns {Promise<void>}
     */
    deleteFriendship: (a: string, b: string) => Promise<void>;
    /**
     * Create a conversation, or replace its title and its participants.
     * @param {string} conversationId
     * @param {string} title
     * @param {string[]} participants at most 5,000
     * @returns {Promise<Conversation>}
     */
    putConversation: (conversationId: string, title: string, participants: string[]) => Promise<Conversation>;
    /**
     * @param {string} conversationId
     * @returns {Promise<Conversation>}
     */
    conversation: (conversationId: string) => Promise<Conversation>;
    /**
     * Delete a conversation. The users stay.
     * @param {string} conversationId
     * @returns {Promise<void>}
     */
    deleteConversation: (conversationId: string) => Promise<void>;
    /**
     * @param {string | null} [cursor]
     * @param {number} [limit]
     * @returns {Promise<Page<"conversations", Conversation>>}
     */
    conversationsPage: (cursor?: string | null, limit?: number) => Promise<Page<"conversations", Conversation>>;
    /** @returns {AsyncGenerator<Conversation>} all conversations, in the order of their ids */
    conversations: () => AsyncGenerator<Conversation>;
    /**
     * Let a user join a conversation.
     * @param {string} conversationId
     * @param {string} userId
     * @returns {Promise<{ conversation_id: string, user_id: string }>}
     */
    addParticipant: (conversationId: string, userId: string) => Promise<{
        conversation_id: string;
        user_id: string;
    }>;
    /**
     * Let a user leave a conversation.
     * @param {string} conversationId
     * @param {string} userId
     * @returns {Promise<void>}
     */
    removeParticipant: (conversationId: string, userId: string) => Promise<void>;
    /**
     * @param {BulkRows} rows
     * @returns {Promise<any>} how many rows there were
     */
    bulk: (rows: BulkRows) => Promise<any>;
    /**
     * A user's settings. `availability`, `text`, `emoji` and `expires_at` are those that the
     * host has set.
     * @param {string} userId
     * @returns {Promise<UserSettings>}
     */
    settings: (userId: string) => Promise<UserSettings>;
    /**
     * @param {string} userId
     * @param {UserSettingsChanges} changes
     * @returns {Promise<UserSettings>} all settings
     */
    changeSettings: (userId: string, changes: UserSettingsChanges) => Promise<UserSettings>;
    /** @returns {Promise<WebhookReceiver[]>} your servers that hear of changes */
    webhooks: () => Promise<WebhookReceiver[]>;
    /**
     * Send to a receiver again, at once, after it was disabled or has failed.
     * @param {string} receiver its URL
     * @returns {Promise<WebhookReceiver>}
     */
    enableWebhook: (receiver: string) => Promise<WebhookReceiver>;
};
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
export declare function verifyWebhook(secrets: string | string[], headers: Headers | Record<string, string | string[] | undefined>, body: string | Uint8Array, now?: number): Promise<PresenceEvent[]>;
