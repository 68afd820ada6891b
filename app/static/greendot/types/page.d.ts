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
/** @returns {boolean} the browser says that there is no network at all */
export declare function networkIsGone(): boolean;
