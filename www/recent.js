// The streams that were played last, kept in the browser's storage.

const KEY = "srs-stream-proxy.recent";
const COUNT = 5;

/** Their addresses, the last one first. The storage may be closed to the page, or hold anything. */
export function recent() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY));
    return stored.filter((entry) => typeof entry === "string").slice(0, COUNT);
  } catch {
    return [];
  }
}

/** Puts an address first. */
export function remember(address) {
  store([address, ...recent().filter((other) => other !== address)].slice(0, COUNT));
}

export function forgetAll() {
  store([]);
}

function store(addresses) {
  try {
    localStorage.setItem(KEY, JSON.stringify(addresses));
  } catch {
    // then the page forgets
  }
}
