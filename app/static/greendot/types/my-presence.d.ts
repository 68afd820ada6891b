/**
 * The signed-in user's own settings: which users see this user, and what they see. The settings
 * are read and changed by REST. After each change, on any device, the server sends an event to all
 * of them.
 */
export type Availability = import("./detail.js").Availability;
export type Detail = import("./detail.js").Detail;
export type PresenceStore = import("./store.js").PresenceStore;
export type Viewers = "everyone" | "friends" | "nobody";
export type MyPresenceSettings = {
    /**
     * the users that see whether this user is online
     */
    visibility: Viewers;
    /**
     * the users that see when this user was last there
     */
    last_seen: Viewers;
    /**
     * users who always see whether
     * this user is online, and users who never do
     */
    exceptions: {
        always: string[];
        never: string[];
    };
    /**
     * set by hand. In a change, `active` and null both
     * take the value back
     */
    availability: Availability | null;
    /**
     * one line of at most 140 characters
     */
    text: string | null;
    /**
     * a single one
     */
    emoji: string | null;
    /**
     * when the three values above end, in milliseconds since the
     * epoch
     */
    expires_at: number | null;
};
export type MyPresence = MyPresenceSettings & {
    status: string;
    detail: Detail | null;
};
export type MyPresenceChanges = {
    [Name in keyof MyPresenceSettings]?: MyPresenceSettings[Name] | null;
};
export type Calls = {
    myPresence: () => Promise<MyPresence>;
    changeMyPresence: (changes: MyPresenceChanges) => Promise<MyPresence>;
};
/** @typedef {import("./detail.js").Availability} Availability */
/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */
/** @typedef {"everyone" | "friends" | "nobody"} Viewers */
/**
 * @typedef {object} MyPresenceSettings
 * @property {Viewers} visibility the users that see whether this user is online
 * @property {Viewers} last_seen the users that see when this user was last there
 * @property {{always: string[], never: string[]}} exceptions users who always see whether
 *   this user is online, and users who never do
 * @property {Availability | null} availability set by hand. In a change, `active` and null both
 *   take the value back
 * @property {string | null} text one line of at most 140 characters
 * @property {string | null} emoji a single one
 * @property {number | null} expires_at when the three values above end, in milliseconds since the
 *   epoch
 */
/**
 * @typedef {MyPresenceSettings & {status: string, detail: Detail | null}} MyPresence the settings,
 *   and what they make of the user's real status
 */
/**
 * @typedef {{
 *   [Name in keyof MyPresenceSettings]?: MyPresenceSettings[Name] | null
 * }} MyPresenceChanges null sets a value back to its default
 */
/**
 * @typedef {object} Calls
 * @property {() => Promise<MyPresence>} myPresence
 * @property {(changes: MyPresenceChanges) => Promise<MyPresence>} changeMyPresence
 */
/**
 * @param {PresenceStore} store
 * @param {object} options
 * @param {() => Calls} options.createCalls throws if the URL of the server is wrong
 * @param {(mine: MyPresence) => void} options.onLoaded called with each answer that the store has
 *   taken
 */
export declare function createMyPresence(store: PresenceStore, { createCalls, onLoaded }: {
    createCalls: () => Calls;
    onLoaded: (mine: MyPresence) => void;
}): {
    load: () => Promise<MyPresence>;
    /** @param {MyPresenceChanges} changes */
    change: (changes: MyPresenceChanges) => Promise<MyPresence>;
    /** Events come again. If the store still has the old settings, read them again. */
    onSnapshot(): void;
};
