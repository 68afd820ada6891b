// Fetches the state of the system again and again, while the page is visible.

const EVERY = 5000;
const state = /** @type {HTMLElement} */ (document.querySelector("#state"));
const stale = /** @type {HTMLElement} */ (document.querySelector("#stale"));

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(state.dataset.from ?? "", { signal: AbortSignal.timeout(EVERY) });
    if (answer.status === 401) return location.reload(); // the session is over
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    state.innerHTML = await answer.text(); // the server has escaped what it contains
    stale.hidden = true;
  } catch (error) {
    stale.textContent = `These figures are old: ${error instanceof Error ? error.message : error}`;
    stale.hidden = false;
  }
}

setInterval(refresh, EVERY);
document.addEventListener("visibilitychange", refresh);
