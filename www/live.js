// What is live now, as the proxy tells it.

const TIMEOUT_MS = 8_000;

/**
 * Asks the proxy. Gives { streams, more, publicBase }: the streams as { path, query } in the order that a person expects, how many are
 * left out, and the public address of the proxy as a URL, or null. Gives null when there is no answer.
 */
export async function liveStreams() {
  let answer;
  try {
    const response = await fetch("api/v1/live", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    answer = await response.json(); // a list that is turned off is a 404 that says so
  } catch {
    return null;
  }
  const { streams = [], more = 0, public_url: given = null } = answer.data ?? {};
  const order = new Intl.Collator("en", { numeric: true });
  streams.sort((a, b) => order.compare(a.path, b.path) || order.compare(a.query, b.query));
  let publicBase = null;
  try {
    publicBase = given && new URL(given.endsWith("/") ? given : `${given}/`);
  } catch {
    // then this page's own address is the best that is known
  }
  return { streams, more, publicBase };
}
