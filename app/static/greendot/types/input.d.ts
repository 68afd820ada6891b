/**
 * Signs of a person in this page: pointer, keyboard, touch and wheel, and whether the page is
 * shown. The listeners only note the time, and the page's handlers never wait for them.
 *
 * `scroll` is no sign of a person: a chat scrolls by itself when a message comes. A person who
 * scrolls uses the wheel, the pointer, a key or a finger.
 */
/**
 * @param {object} handlers
 * @param {(at: number) => void} handlers.onInput called immediately for the first input, then
 *   at most once per spacing with the time of the latest input
 * @param {(shown: boolean) => void} handlers.onShown the page was shown or hidden
 * @param {() => number} handlers.spacing milliseconds
 * @returns {() => void} stops watching
 */
export declare function watchInput({ onInput, onShown, spacing }: {
    onInput: (at: number) => void;
    onShown: (shown: boolean) => void;
    spacing: () => number;
}): () => void;
/** @returns {boolean} whether the page is visible; true outside of browsers */
export declare const isShown: () => boolean;
/**
 * @returns {boolean} whether this is a phone or a tablet. There a hidden page means that the
 *   person has put the application away
 */
export declare function isMobile(): boolean;
