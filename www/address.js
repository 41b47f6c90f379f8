// Stream addresses: reading what a person typed, changing the format, writing commands for other players.
// Pure functions, no page.

/** The formats that the switch offers, by the extension in the address. */
export const FORMATS = { m3u8: "HLS", flv: "FLV", ts: "TS" };

/** The extensions that mean a format. Any other dot belongs to the stream's name, as in "/live/cam.1". */
const EXTENSION = /\.(m3u8|flv|ts|aac|mp3|mp4|ogg|webm)$/i;

/** What belongs to one HLS session and means nothing in another format or to another viewer. */
const SESSION_PARAMETERS = ["spbhid", "hls_ctx"];

/** Query parameters that name a stream. All others may be a secret, and are kept nowhere. */
const NAMING_PARAMETERS = ["vhost", "domain", "app", "stream"];

/**
 * The directory that this page is in. The proxy serves its pages at the top, so this is where the proxy begins for a browser, also
 * behind another server that has it below a path such as "/proxy/".
 */
export function baseOf(pageUrl) {
  return new URL(".", pageUrl);
}

/**
 * Reads what was typed or linked to: a path on this proxy ("/live/demo.flv", "live/demo") or an http(s) URL.
 * Without an extension the stream is taken for the format that is given. Takes the text, the URL of this page and the format's
 * extension. Gives a URL; throws an Error whose message is meant for the reader.
 */
export function readAddress(text, pageUrl, format = "m3u8") {
  const typed = text.trim();
  if (typed === "") throw new Error("Type the address of a stream, for example /live/demo.flv.");

  // "host:8080/live/a.flv" would be read as a URL whose scheme is "host".
  const looksLikeHost = /^[^/?#:]+:\d+\//.test(typed);
  const base = baseOf(pageUrl);
  // A path begins at the proxy, unless it was copied from the browser and has the directory of the proxy already.
  const isPath = typed.startsWith("/") && !typed.startsWith("//") && !typed.startsWith(base.pathname);
  let url;
  try {
    url = new URL(looksLikeHost ? `http://${typed}` : isPath ? `.${typed}` : typed, base);
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
  if (url.pathname === "/" || url.href === base.href) throw new Error("This address names no stream. Add its path, for example /live/demo.flv.");
  url.hash = "";
  if (extensionOf(url) === "") url.pathname = url.pathname.replace(/\/+$/, "") + "." + format;
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

/** How an address is shown: without the server, and without the directory of the proxy, when it is this one. */
export function shortForm(url, pageUrl) {
  const base = baseOf(pageUrl);
  if (url.origin !== base.origin) return url.href;
  const path = url.pathname.startsWith(base.pathname) ? url.pathname.slice(base.pathname.length - 1) : url.pathname;
  return path + url.search;
}

/** A short form without what may be a secret: only the parameters that name a stream stay. */
export function withoutSecrets(address) {
  const [path, ...query] = address.split("?");
  const kept = query.join("?").split("#")[0].split("&").filter((pair) => NAMING_PARAMETERS.includes(pair.split("=")[0]));
  const clean = path.replace(/^([a-z]+:\/\/)[^/@]*@/i, "$1");
  return kept.length > 0 ? `${clean}?${kept.join("&")}` : clean;
}

/** The address of an entry of the list of live streams, as it would be typed; in a format where one is given. */
export function listedAddress({ path, query }, format = "") {
  return path + (format && `.${format}`) + (query ? `?${query}` : "");
}

/** The link to this page that plays the address; `base` is where the page is. */
export function pageLink(url, pageUrl, base = baseOf(pageUrl)) {
  const value = encodeURIComponent(shortForm(url, pageUrl)).replaceAll("%2F", "/").replaceAll("%3A", ":");
  const link = new URL(base);
  link.search = "?stream=" + value;
  return link.href;
}

/** The same stream at the public address of the proxy; another server's stays as it is. `publicBase` is a URL, or null for none. */
function publicly(url, pageUrl, publicBase) {
  const base = baseOf(pageUrl);
  if (!publicBase || url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) return url;
  return new URL("." + shortForm(url, pageUrl), publicBase);
}

/** The commands to copy, as [label, text] pairs. */
export function commandsFor(ownUrl, pageUrl, publicBase = null) {
  const url = publicly(ownUrl, pageUrl, publicBase);
  const word = shellWord(url.href);
  const live = extensionOf(url) !== "m3u8";
  return [
    ["VLC", `vlc ${word}`],
    ["ffplay", live ? `ffplay -fflags nobuffer ${word}` : `ffplay ${word}`],
    ["curl", live ? `curl -N -m 10 -D - -o ten-seconds.${extensionOf(url)} ${word}` : `curl -i ${word}`],
    ["Stream", url.href],
    ["This page", pageLink(ownUrl, pageUrl, publicBase ?? undefined)],
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
