/**
 * Events of the page around the client: it becomes visible again, the network goes and
 * returns, the computer sleeps and wakes.
 */
/**
 * @param {object} handlers
 * @param {(slept: number) => void} handlers.onWake the socket may have ended.
 *   `slept`: for how many milliseconds the page did not run; 0 if it did not sleep
 * @param {() => void} handlers.onOffline the browser reports that there is no network
 * @returns {() => void} stops watching
 */
export declare function watchPage({ onWake, onOffline }: {
    onWake: (slept: number) => void;
    onOffline: () => void;
}): () => void;
/**
 * Watch the back/forward cache. The browser keeps a page there in case the user goes back to
 * it, and runs none of its code. A socket of such a page would be open and silent.
 *
 * @param {object} handlers
 * @param {() => void} handlers.onFreeze the page may be put into the cache
 * @param {() => void} handlers.onThaw the page is shown again from the cache
 * @returns {() => void} stops watching
 */
export declare function watchBackForwardCache({ onFreeze, onThaw }: {
    onFreeze: () => void;
    onThaw: () => void;
}): () => void;
/**
 * @param {Partial<EventTarget> | undefined} target undefined outside of browsers
 * @param {string} event
 * @param {(event: Event) => void} listener
 * @param {AddEventListenerOptions} [options]
 * @returns {() => void} stops listening
 */
export declare function listen(target: Partial<EventTarget> | undefined, event: string, listener: (event: Event) => void, options?: AddEventListenerOptions): () => void;
/**
 * @param {string} url of the server
 * @returns {boolean} whether this page can read its answers only if the server allows it
 */
export declare const isCrossOrigin: (url: string) => boolean;
/**
 * @param {string} url of the server
 * @returns {boolean} whether browsers block it because the page is https and the server is
 *   http. They allow http to the computer itself
 */
export declare const isMixedContent: (url: string) => boolean;
/** @returns {boolean} whether the browser reports that there is no network at all */
export declare function isNetworkDown(): boolean;
