/**
 * What happens to the page around the client: it is shown again, the network comes and
 * goes, the machine sleeps and wakes.
 */
/**
 * @param {object} handlers
 * @param {(slept: number) => void} handlers.onWake the page has reason to look at its
 *   socket; `slept` is how many milliseconds it did not run (0: it was not asleep)
 * @param {() => void} handlers.onOffline the browser says that the network is gone
 * @returns {() => void} stops watching
 */
export declare function watchPage({ onWake, onOffline }: {
    onWake: (slept: number) => void;
    onOffline: () => void;
}): () => void;
/**
 * The back/forward cache keeps a page that the user may come back to, but runs nothing of
 * it: its socket would be open and silent.
 *
 * @param {object} handlers
 * @param {() => void} handlers.onFreeze the page may go into the cache
 * @param {() => void} handlers.onThaw the page has come back from it
 * @returns {() => void} stops watching
 */
export declare function watchCache({ onFreeze, onThaw }: {
    onFreeze: () => void;
    onThaw: () => void;
}): () => void;
/**
 * @param {string} url of the server
 * @returns {boolean} whether its answers are hidden from this page unless it allows them
 */
export declare const isOfAnotherOrigin: (url: string) => boolean;
/**
 * @param {string} url of the server
 * @returns {boolean} whether browsers keep this page from using it: they make an exception
 *   for the machine itself
 */
export declare const isMixedContent: (url: string) => boolean;
/** @returns {boolean} the browser says that there is no network at all */
export declare function networkIsGone(): boolean;
