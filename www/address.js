// Stream addresses: reading what a person typed, changing the format, writing commands for other players.
// Pure functions, no page.

/** The formats that the switch offers, by the extension in the address. */
export const FORMATS = { m3u8: "HLS", flv: "FLV", ts: "TS" };

/** The extensions that mean a format. Any other dot belongs to the stream's name, as in "/live/cam.1". */
const EXTENSION = /\.(m3u8|flv|ts|aac|mp3|mp4|ogg|webm)$/i;

/** What belongs to one HLS session and means nothing in another format or to another viewer. */
const SESSION_PARAMETERS = ["spbhid", "hls_ctx"];

/**
 * Reads what was typed or linked to: a path on this server ("/live/demo.flv", "live/demo") or an http(s) URL.
 * Without an extension it is taken for HLS, which most browsers play by themselves. Takes the text and the URL of this page. Gives a URL; throws an Error whose message is meant for the reader.
 */
export function readAddress(text, pageUrl) {
  const typed = text.trim();
  if (typed === "") throw new Error("Type the address of a stream, for example /live/demo.flv.");

  // "host:8080/live/a.flv" would be read as a URL whose scheme is "host".
  const looksLikeHost = /^[^/?#:]+:\d+\//.test(typed);
  let url;
  try {
    url = new URL(looksLikeHost ? `http://${typed}` : typed, new URL("/", pageUrl));
  } catch {
    throw new Error(`"${shorten(typed)}" is not an address.`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    const scheme = shorten(url.protocol.slice(0, -1));
    throw new Error(`A browser cannot play ${scheme} addresses. Type a path such as /live/demo.flv, or an http(s) URL.`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new Error("Browsers load no address with a user name in it. Leave out what stands before the @.");
  }
  if (url.pathname === "/") throw new Error("This address names no stream. Add its path, for example /live/demo.flv.");
  url.hash = "";
  if (extensionOf(url) === "") url.pathname = url.pathname.replace(/\/+$/, "") + ".m3u8";
  return url;
}

/** The format's extension in lower case, without its dot; "" when there is none. */
export function extensionOf(url) {
  const match = EXTENSION.exec(url.pathname);
  return match ? match[1].toLowerCase() : "";
}

/** The same stream in another format, as a new URL. */
export function withFormat(url, format) {
  const other = new URL(url);
  other.pathname = other.pathname.replace(EXTENSION, "") + "." + format;
  const query = other.search.slice(1).split("&");
  const kept = query.filter((pair) => !SESSION_PARAMETERS.includes(pair.split("=")[0]));
  other.search = kept.join("&");
  return other;
}

/** How an address is shown: without the server when it is this one. */
export function shortForm(url, pageUrl) {
  return url.origin === new URL(pageUrl).origin ? url.pathname + url.search : url.href;
}

/** The link to this page that plays the address. */
export function pageLink(url, pageUrl) {
  const value = encodeURIComponent(shortForm(url, pageUrl)).replaceAll("%2F", "/").replaceAll("%3A", ":");
  const link = new URL("/", pageUrl);
  link.search = "?stream=" + value;
  return link.href;
}

/** The commands to copy, as [label, text] pairs. */
export function commandsFor(url, pageUrl) {
  const word = shellWord(url.href);
  const live = extensionOf(url) !== "m3u8";
  return [
    ["VLC", `vlc ${word}`],
    ["ffplay", live ? `ffplay -fflags nobuffer ${word}` : `ffplay ${word}`],
    ["curl", live ? `curl -N -m 10 -D - -o ten-seconds.${extensionOf(url)} ${word}` : `curl -i ${word}`],
    ["Stream", url.href],
    ["This page", pageLink(url, pageUrl)],
  ];
}

/** A URL as one word for a shell: quoted where it must be. */
function shellWord(href) {
  if (/^[\w:/.,@%+=-]+$/.test(href)) return href;
  return `'${href.replaceAll("'", "%27")}'`;
}

function shorten(text) {
  return text.length > 60 ? text.slice(0, 60) + "…" : text;
}
