/**
 * A worker that only keeps time. Browsers slow the timers of hidden tabs down to one a
 * minute, which is a whole online TTL; the timers of a worker go on. See timers.js.
 */

self.onmessage = ({ data }) => {
  setTimeout(() => self.postMessage(data.id), data.delay);
};
