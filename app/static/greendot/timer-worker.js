/**
 * A worker that only runs timers. Browsers slow the timers of hidden tabs down to one a
 * minute, which is as long as the online TTL. A worker's timers keep their pace. See timers.js.
 */

self.onmessage = ({ data }) => {
  setTimeout(() => self.postMessage(data.id), data.delay);
};
