// The ways to get a stream into the video element: the browser's own player, hls.js, mpegts.js.
//
// An engine is { name, lateAfter, delay(), kbps(), close() }:
//   name       what plays, for the reader
//   lateAfter  the delay in seconds from which "go live" is worth offering
//   delay()    how many seconds the picture is behind live, or null: behind the newest data, and how long ago that came. So it also
//              grows when nothing comes any more and the picture stands
//   kbps()     the bit rate of the last seconds in kbit/s, or null
//   close()    ends the connection and empties the video element
// It reports through `events`: failed(failure), see words.js, and finished() when the server ended the stream in good order.
// events.wanted() tells it whether it is still the one to play.

import { extensionOf } from "./address.js";
import { readRetryAfter } from "./words.js";

const HLS_TYPE = "application/vnd.apple.mpegurl";

const HLS_JS = { library: "hls.js", file: "node_modules/hls.js/dist/hls.min.js", global: "Hls" };
const MPEGTS_JS = { library: "mpegts.js", file: "node_modules/mpegts.js/dist/mpegts.js", global: "mpegts" };

/** How long a server may think about the answer to a probe; the proxy itself waits 5 s for a publisher. */
const PROBE_MS = 20_000;

/** How long finding out whether a library is there may take: playing waits for it. */
const FIND_MS = 3_000;

/** The time over which bit rates are averaged; HLS comes in lumps of a segment, so it has to span several. */
const RATE_WINDOW_MS = 8_000;

/** Whether the browser plays HLS by itself. */
export function playsHls(video) {
  return video.canPlayType(HLS_TYPE) !== "";
}

/**
 * Which formats can be played here, as { m3u8, flv, ts }: the browser plays it, or the library for it is part of this build and
 * the browser has the Media Source Extensions that the library needs.
 */
export async function playableFormats(video) {
  const sources = "MediaSource" in window || "ManagedMediaSource" in window;
  const [hls, live] = await Promise.all([playsHls(video) || (sources && isThere(HLS_JS)), sources && isThere(MPEGTS_JS)]);
  return { m3u8: hls, flv: live, ts: live };
}

/** Whether a library is part of this build. Where the server cannot be asked it is taken to be: playing tells more. */
async function isThere({ file }) {
  try {
    return (await fetch(file, { method: "HEAD", signal: AbortSignal.timeout(FIND_MS) })).status !== 404;
  } catch {
    return true;
  }
}

/**
 * Opens the URL in the video element. Gives an engine, or null when nobody wants it any more once its library is there; throws a
 * failure (not an Error) when it cannot even begin.
 */
export async function openEngine(video, url, events) {
  const format = extensionOf(url);
  if (format === "flv" || format === "ts") {
    const mpegts = await load(MPEGTS_JS);
    return events.wanted() ? openMpegts(video, url, format, events, mpegts) : null;
  }
  if (format === "m3u8" && !playsHls(video)) {
    const Hls = await load(HLS_JS);
    return events.wanted() ? openHlsJs(video, url, events, Hls) : null;
  }
  return openNative(video, url, events);
}

// The browser's own player.

function openNative(video, url, events) {
  const probing = new AbortController();
  const meter = new Meter();
  const onError = async () => {
    const failure = await probe(url, probing.signal);
    if (probing.signal.aborted) return;
    if (failure) events.failed(failure);
    else if (video.currentTime > 0) events.failed({ kind: "broken" });
    else events.failed({ kind: "media", detail: video.error?.message });
  };
  const edge = new LiveEdge();
  video.addEventListener("error", onError);
  video.src = url.href;
  return {
    name: "the browser",
    lateAfter: 25,
    delay: () => edge.behind(video, video.seekable) ?? edge.behind(video, video.buffered),
    kbps: () => {
      // Chromium and Safari count what they decode; nobody tells what a native player loads.
      if (video.webkitVideoDecodedByteCount === undefined) return null;
      meter.total(video.webkitVideoDecodedByteCount + (video.webkitAudioDecodedByteCount ?? 0));
      return meter.kbps();
    },
    close: () => {
      probing.abort();
      video.removeEventListener("error", onError);
      empty(video);
    },
  };
}

/** Asks for the URL once more to learn what the video element does not tell. Gives a failure, or null when the server has it. */
async function probe(url, signal) {
  const enough = new AbortController();
  try {
    const limit = AbortSignal.timeout(PROBE_MS);
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.any([signal, limit, enough.signal]) });
    return response.ok ? null : await refusal(response);
  } catch (error) {
    return { kind: error.name === "TimeoutError" ? "silent" : "network" };
  } finally {
    enough.abort(); // a live stream's body would never end
  }
}

// hls.js, where the browser has no HLS of its own.

function openHlsJs(video, url, events, Hls) {
  if (!Hls.isSupported()) throw { kind: "unsupported", detail: "It has no Media Source Extensions, which hls.js needs." };
  const hls = new Hls({ backBufferLength: 60 });
  const edge = new LiveEdge();
  let recovered = false;
  let rate = null;
  hls.on(Hls.Events.FRAG_LOADED, (_, { frag }) => {
    const kbps = (frag.stats.loaded * 8) / (frag.duration * 1000);
    if (Number.isFinite(kbps)) rate = rate === null ? kbps : (3 * rate + kbps) / 4;
  });
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && !recovered) {
      recovered = true;
      hls.recoverMediaError();
    } else if (data.type === Hls.ErrorTypes.NETWORK_ERROR) {
      const status = data.response?.code ?? 0;
      if (status < 400) return events.failed({ kind: /TimeOut/i.test(data.details) ? "silent" : "network" });
      const retryAfter = readRetryAfter(data.networkDetails?.getResponseHeader?.("Retry-After"));
      events.failed({ kind: "status", status, retryAfter, said: sentence(data.networkDetails?.responseText) });
    } else {
      events.failed({ kind: "media", detail: data.error?.message ?? data.details });
    }
  });
  hls.loadSource(url.href);
  hls.attachMedia(video);
  return {
    name: `hls.js ${Hls.version}`,
    lateAfter: 25,
    // hls.js adds the age of its playlist itself, up to some seconds only; a picture that stands longer is later than that.
    delay: () => {
      if (hls.latestLevelDetails?.live === false) return null; // a recording
      const counted = edge.behind(video, video.buffered);
      return hls.latency > 0 ? Math.max(hls.latency, counted ?? 0) : counted;
    },
    kbps: () => rate,
    close: () => {
      hls.destroy();
      empty(video);
    },
  };
}

// mpegts.js, for live FLV and TS over one endless response.

function openMpegts(video, url, format, events, mpegts) {
  if (!mpegts.isSupported()) throw { kind: "unsupported", detail: "It has no Media Source Extensions, which mpegts.js needs. HLS may play." };
  mpegts.LoggingControl.enableAll = false; // the page itself says what goes wrong
  const meter = new Meter();
  const player = mpegts.createPlayer(
    { type: format === "flv" ? "flv" : "mpegts", isLive: true, url: url.href },
    {
      customLoader: loaderClass(mpegts.BaseLoader, meter, events),
      enableStashBuffer: false, // a stash would add its own delay
      lazyLoad: false,
      autoCleanupSourceBuffer: true,
      liveSync: true, // plays a little faster until the delay is small again
      liveSyncMaxLatency: 3,
      liveSyncTargetLatency: 1.5,
      liveSyncPlaybackRate: 1.1,
    },
  );
  player.on(mpegts.Events.ERROR, (_type, detail, info) => {
    events.failed({ kind: "media", detail: info?.msg ?? detail });
  });
  const edge = new LiveEdge();
  player.attachMediaElement(video);
  player.load();
  return {
    name: `mpegts.js ${mpegts.version}`,
    lateAfter: 6,
    delay: () => edge.behind(video, video.buffered),
    kbps: () => meter.kbps(),
    close: () => {
      player.destroy();
      empty(video);
    },
  };
}

/**
 * A loader for mpegts.js that keeps what its own one throws away: the head of a refusal, the bytes as they come, and whether
 * a body ended or broke off. It also ends its connection at once when it is told to; the built-in one waits for the next byte.
 */
function loaderClass(BaseLoader, meter, events) {
  const CONNECTING = 1;
  const LOADING = 2;
  const STOPPED = 4;

  return class extends BaseLoader {
    #connection = new AbortController();

    constructor() {
      super("live-fetch-loader");
    }

    destroy() {
      this.abort();
      super.destroy();
    }

    abort() {
      this._status = STOPPED;
      this.#connection.abort();
    }

    async open(source) {
      const { signal } = this.#connection;
      let received = 0;
      this._status = CONNECTING;
      try {
        const response = await fetch(source.url, { cache: "no-store", signal });
        if (!response.ok) {
          const failure = await refusal(response);
          if (!signal.aborted) events.failed(failure);
          return;
        }
        this._status = LOADING;
        const reader = response.body.getReader();
        for (;;) {
          const { done, value } = await reader.read();
          if (signal.aborted) return;
          if (done) break;
          received += value.byteLength;
          meter.add(value.byteLength);
          const whole = value.byteLength === value.buffer.byteLength;
          this._onDataArrival(whole ? value.buffer : value.slice().buffer, received - value.byteLength, received);
          if (signal.aborted) return; // what arrived may have been its end
        }
        this._status = STOPPED;
        this._onComplete(0, received - 1);
        events.finished();
      } catch (error) {
        if (signal.aborted) return;
        this._status = STOPPED;
        if (error.name !== "TypeError") return events.failed({ kind: "media", detail: error.message });
        events.failed({ kind: received > 0 ? "broken" : "network" });
      }
    }
  };
}

// What they share.

const loading = new Map();

/** Loads a library once, when it is needed first. Gives what it defines; throws a failure when it is not there. */
function load({ library, file, global }) {
  if (!loading.has(file)) {
    const script = document.createElement("script");
    const loaded = new Promise((resolve, reject) => {
      script.onload = () => (window[global] ? resolve(window[global]) : reject({ kind: "missing", library, file }));
      script.onerror = () => reject({ kind: "missing", library, file });
    });
    loaded.catch(() => {
      loading.delete(file); // the next attempt asks again
      script.remove();
    });
    loading.set(file, loaded);
    script.src = file;
    document.head.append(script);
  }
  return loading.get(file);
}

/** A refusal as a failure, with the sentence that the server sent along. */
async function refusal(response) {
  const plain = response.headers.get("Content-Type")?.startsWith("text/plain");
  return {
    kind: "status",
    status: response.status,
    retryAfter: readRetryAfter(response.headers.get("Retry-After")),
    said: plain ? sentence(await response.text().catch(() => "")) : "",
  };
}

/** The first line of an error's body, cut to a readable length. */
function sentence(text) {
  const line = (text ?? "").trim().split("\n")[0];
  return line.startsWith("<") ? "" : line.slice(0, 200);
}

/** Where live is now: at the newest data when that comes, and going on from there as the clock does. */
class LiveEdge {
  #end = null;
  #came = 0; // ms

  /** How far the picture is behind live, in seconds; null when the ranges, which end with the newest data, are empty or endless. */
  behind(video, ranges) {
    if (ranges.length === 0) return null;
    const end = ranges.end(ranges.length - 1);
    if (!Number.isFinite(end)) return null;
    const now = performance.now();
    if (end !== this.#end) {
      this.#end = end;
      this.#came = now;
    }
    const age = (now - this.#came) / 1000;
    return Math.max(0, end - video.currentTime + age);
  }
}

function empty(video) {
  video.removeAttribute("src");
  video.load();
}

/** Bytes over the last seconds. */
class Meter {
  #samples = []; // [time in ms, bytes so far]
  #bytes = 0;

  add(bytes) {
    this.total(this.#bytes + bytes);
  }

  total(bytes) {
    const now = performance.now();
    if (bytes < this.#bytes) this.#samples = [];
    this.#bytes = bytes;
    this.#samples.push([now, bytes]);
    while (now - this.#samples[0][0] > RATE_WINDOW_MS) this.#samples.shift();
  }

  /** In kbit/s; null before there are two seconds to judge by. */
  kbps() {
    const now = performance.now();
    const first = this.#samples.find(([time]) => now - time <= RATE_WINDOW_MS);
    if (!first || now - first[0] < 2000) return null;
    return ((this.#bytes - first[1]) * 8) / (now - first[0]);
  }
}
