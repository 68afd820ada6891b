/**
 * What a user's presence is beside online and offline: the availability, a text, an emoji. The
 * server sends it as one object, and the store keeps that object as it is.
 */
export type Availability = "active" | "away" | "dnd";
export type Detail = {
    availability: Availability;
    text: string | null;
    emoji: string | null;
    /**
     * when the first of the shown values ends, in milliseconds
     * since the epoch. The server sends a new detail then
     */
    expires_at: number | null;
    /**
     * when this availability began, in milliseconds since the epoch
     */
    since: number;
};
/**
 * A repeated event or a new snapshot brings an equal object. With the known one in its place a
 * listener sees that nothing has changed.
 *
 * @param {Detail | null | undefined} known
 * @param {Detail | null | undefined} next
 * @returns {Detail | null | undefined} `known` if both have the same content, otherwise `next`
 */
export declare function keepEqual(known: Detail | null | undefined, next: Detail | null | undefined): Detail | null | undefined;
