// What went wrong, in words, and whether trying again can help.

/** What a status of the stream's address means to a viewer. */
const STATUSES = {
  401: ["The server wants proof of who you are.", "Add the token that it expects to the address."],
  403: ["The server does not let you watch this stream.", "Check the token in the address."],
  404: ["Nobody publishes this stream (yet).", "Check its name, or start the publisher."],
  502: ["The origin refused this stream or broke off.", "It may be restarting, or a rule of its own refuses players."],
  503: ["The proxy cannot take this stream now.", "No origin is known to it, or it is full."],
  504: ["The origin took too long to answer.", "It may be overloaded or unreachable."],
  508: ["The request went in a circle.", "The proxy is registered as its own origin."],
};

/** Statuses that may change by themselves. */
const PASSING = [404, 408, 425, 429, 500, 502, 503, 504];

/**
 * Puts a failure into words. Takes what an engine reports:
 *   { kind: "status", status, retryAfter, said }  the server answered, and not with a stream
 *   { kind: "network" }                           no answer at all
 *   { kind: "broken" }                            the stream broke off in the middle
 *   { kind: "silent" }                            nothing came for too long
 *   { kind: "media", detail }                     the browser cannot play what came
 *   { kind: "unsupported", detail }               the browser cannot play this format
 *   { kind: "missing", library, file }            a library is not part of this build
 * Gives { title, hint, said, retry }: `said` is the server's own sentence, `retry` whether to try again.
 */
export function explain(failure) {
  switch (failure.kind) {
    case "status":
      return explainStatus(failure);
    case "network":
      return { title: "The server cannot be reached.", hint: "Is it running, and does it allow this page (CORS)?", retry: true };
    case "broken":
      return { title: "The stream broke off.", hint: "The publisher or its origin stopped.", retry: true };
    case "silent":
      return { title: "Nothing comes from the server.", hint: "The connection stands, but no picture arrives.", retry: true };
    case "media":
      return {
        title: "The browser cannot play what came.",
        hint: "The data is damaged, or its codec is one that this browser has not got. H.264 and AAC play everywhere.",
        said: failure.detail,
        retry: true,
      };
    case "unsupported":
      return { title: "This browser cannot play this format.", hint: failure.detail, retry: false };
    case "missing":
      return {
        title: `${failure.library} is not part of this build.`,
        hint: `Run "npm ci" in www/ and build the proxy again; it then serves ${failure.file}. VLC and ffplay play the addresses below.`,
        retry: false,
      };
    default:
      return { title: "Playing failed.", hint: "", said: failure.detail, retry: false };
  }
}

function explainStatus({ status, retryAfter, said }) {
  const [title, hint] = STATUSES[status] ?? ["The server gives no stream here.", ""];
  const wait = status === 503 && retryAfter ? ` It asks to try again in ${seconds(retryAfter)}.` : "";
  return { title: `${status}: ${title}`, hint: hint + wait, said, retry: PASSING.includes(status) };
}

/** "1 second", "7 seconds". */
export function seconds(count) {
  return `${count} second${count === 1 ? "" : "s"}`;
}

/** Reads a Retry-After head: whole seconds, or null for none and for dates, which no proxy of ours sends. */
export function readRetryAfter(value) {
  return /^\d{1,5}$/.test(value ?? "") ? Number(value) : null;
}
