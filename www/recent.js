// The streams that were played last, kept in the browser's storage: names only, for whoever sits here next can read them.

import { withoutSecrets } from "./address.js";

const KEY = "srs-stream-proxy.recent";
const COUNT = 5;

/** Their addresses, the last one first. The storage may be closed to the page, or hold anything. */
export function recent() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY));
    const entries = stored.filter((entry) => typeof entry === "string").map(withoutSecrets);
    return [...new Set(entries)].slice(0, COUNT);
  } catch {
    return [];
  }
}

/** Puts an address first, without what may be a secret in its query. */
export function remember(played) {
  const address = withoutSecrets(played);
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
