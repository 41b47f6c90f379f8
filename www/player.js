// The player page: what is asked for, what is played, and what is shown of it.

import { FORMATS, extensionOf, pageLink, readAddress, shortForm, withFormat } from "./address.js";
import { commandRows, element } from "./commands.js";
import { openEngine, playsHls } from "./engines.js";
import { forgetAll, recent, remember } from "./recent.js";
import { explain, seconds } from "./words.js";

const DEMO_STREAMS = ["/live/demo.flv", "/live/demo.ts", "/live/demo.m3u8", "/live/a.flv", "/live/b.flv"];

/** Waits before the tries after a failure, in seconds; the last one repeats. */
const RETRY_AFTER = [1, 2, 4, 8, 15];
/** Some ten minutes; a forgotten tab must not knock for ever. */
const MAX_TRIES = 40;
/** No first picture for this long is a failure. An origin may take 10 s, and the proxy waits 5 s for a publisher. */
const FIRST_PICTURE_MS = 20_000;
/**
 * A picture that stands for this long is one too. HLS players wait for ever when another origin takes over, for its playlist counts
 * from a lower number; opening the stream anew goes on at once.
 */
const NEXT_PICTURE_MS = 8_000;
/** A picture that stands for this long is buffering, whatever the browser's events say. */
const STANDSTILL_MS = 1_500;
const TICK_MS = 500;

const $ = (id) => document.getElementById(id);
const video = $("video");

/** What is played now; null before the first and after "Stop". Each start makes a new one, so late answers find themselves outdated. */
let session = null;
/** The names of the libraries that were found missing. */
const missing = new Set();

// Starting and stopping.

/** Plays what was typed or linked to. */
function playTyped(text) {
  let url;
  try {
    url = readAddress(text, location.href);
  } catch (error) {
    stop();
    setState("error", "Not playing");
    showError({ title: error.message, retry: false });
    return;
  }
  play(url);
}

function play(url, tries = 0) {
  close();
  const mine = { url, tries, engine: null, paused: false, played: false, finished: false, movedAt: performance.now(), position: 0 };
  session = mine;
  if (tries === 0) {
    showChoice(url);
    hideError();
    setState("loading", "Connecting …");
  } else {
    setState("loading", `Connecting again (try ${tries}) …`);
  }
  const current = () => session === mine;
  const events = {
    wanted: current,
    failed: (failure) => current() && failed(failure),
    finished: () => (mine.finished = true),
  };
  openEngine(video, url, events).then(
    (engine) => {
      if (!engine) return; // something else was started meanwhile
      mine.engine = engine;
      $("engine").textContent = engine.name;
      begin(mine);
    },
    (failure) => events.failed(failure.kind ? failure : { kind: "unknown", detail: String(failure.message ?? failure) }),
  );
}

/** Starts the video element; without sound where the browser demands a click first, and with a button where even that is refused. */
async function begin(mine) {
  try {
    await video.play();
  } catch (error) {
    if (session !== mine || error.name !== "NotAllowedError") return; // other errors come as events too
    if (!video.muted) {
      video.muted = true;
      $("unmute").hidden = false;
      return begin(mine);
    }
    mine.paused = true;
    video.muted = false; // after a click there may be sound
    $("unmute").hidden = true;
    setState("paused", "Press play: the browser wants a click first");
    $("begin").hidden = false;
  }
}

function stop() {
  close();
  session = null;
  hideError();
  setState("idle", "Nothing is playing");
}

function close() {
  if (!session) return;
  clearTimeout(session.timer);
  session.engine?.close();
  session.engine = null;
  $("begin").hidden = true;
  for (const id of ["delay", "resolution", "bitrate", "engine"]) $(id).textContent = "–";
  $("golive").hidden = true;
}

/** The stream is not there, broke off, or cannot be played: says so, and tries again where that can help. */
function failed(failure) {
  const { url, played, paused } = session;
  let { tries } = session;
  if (played) tries = 0;
  close();
  session = { url, tries, engine: null };

  const words = explain(failure);
  showError(words);
  if (failure.kind === "missing") offerInstead(failure.library, url);
  const brokeOff = played && (failure.kind === "broken" || failure.kind === "silent");
  const state = brokeOff ? "ended" : "error";
  if (!words.retry || tries >= MAX_TRIES || (paused && brokeOff)) {
    setState(state, brokeOff ? "Ended" : "Not playing");
    return;
  }
  const wait = Math.max(RETRY_AFTER[Math.min(tries, RETRY_AFTER.length - 1)], Math.min(failure.retryAfter ?? 0, 120));
  countDown(session, state, brokeOff ? "Reconnecting" : "Trying again", wait);
}

function countDown(mine, state, doing, left) {
  if (session !== mine) return;
  if (left === 0) return play(mine.url, mine.tries + 1);
  setState(state, `${doing} in ${seconds(left)}`);
  mine.timer = setTimeout(() => countDown(mine, state, doing, left - 1), 1000);
}

// What the video element tells.

video.addEventListener("playing", () => {
  if (!session?.engine) return;
  session.paused = false;
  session.movedAt = performance.now();
  hideError();
  $("begin").hidden = true;
  setState("playing", "Playing");
  if (!session.played) {
    remember(shortForm(session.url, location.href));
    showPicks();
  }
  session.played = true;
});
video.addEventListener("waiting", () => session?.played && !video.paused && setState("buffering", "Buffering …"));
video.addEventListener("pause", () => {
  if (!session?.played || !session.engine || video.ended || video.error) return;
  session.paused = true;
  setState("paused", "Paused");
});
video.addEventListener("play", () => session && (session.paused = false));
video.addEventListener("ended", () => session?.engine && finish());
video.addEventListener("volumechange", () => !video.muted && ($("unmute").hidden = true));

function finish() {
  setState("ended", "The stream has ended");
  close();
}

/** Figures, and what no event tells: a picture that stands still, a server that sends nothing. */
function tick() {
  if (!session?.engine) return;
  const now = performance.now();
  const state = $("state").dataset.state;
  if (video.currentTime !== session.position || session.paused) {
    session.position = video.currentTime;
    session.movedAt = now;
    if (state === "buffering" && !video.paused && video.readyState > 2) setState("playing", "Playing");
  } else if (state === "playing" && now - session.movedAt > STANDSTILL_MS) {
    setState("buffering", "Buffering …");
  } else if (session.finished && now - session.movedAt > STANDSTILL_MS) {
    return finish();
  } else if (now - session.movedAt > (session.played ? NEXT_PICTURE_MS : FIRST_PICTURE_MS)) {
    return failed({ kind: "silent" });
  }
  if (session.played) showFigures(session.engine);
}
setInterval(tick, TICK_MS);

// Showing.

function setState(state, text) {
  $("stage").dataset.state = state;
  video.controls = state === "playing" || state === "paused" || state === "buffering";
  if ($("state").dataset.state !== state) $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
  $("headline").textContent = state === "idle" ? "Type or pick a stream above" : text;
  $("stop").disabled = state === "idle" || !session;
  document.title = session ? `${shortForm(session.url, location.href)} · srs-stream-proxy` : "Player · srs-stream-proxy";
}

function showFigures(engine) {
  const delay = engine.delay();
  const kbps = engine.kbps();
  $("delay").textContent = delay === null ? "–" : `${delay.toFixed(1)} s`;
  $("golive").hidden = !(delay > engine.lateAfter);
  if (video.videoWidth > 0) $("resolution").textContent = `${video.videoWidth}×${video.videoHeight}`;
  else $("resolution").textContent = video.readyState > 0 ? "sound only" : "–";
  if (kbps === null || session.paused) $("bitrate").textContent = "–";
  else $("bitrate").textContent = kbps < 1000 ? `${Math.round(kbps)} kbit/s` : `${(kbps / 1000).toFixed(2)} Mbit/s`;
}

function showError({ title, hint = "", said = "", retry }) {
  $("error-title").textContent = title;
  $("error-hint").textContent = hint;
  $("error-said").textContent = said ? `“${said}”` : "";
  $("error-said").hidden = !said;
  $("again").hidden = !retry;
  $("instead").hidden = true;
  $("error").hidden = false;
}

function hideError() {
  $("error").hidden = true;
}

/** A library is missing: offers the format that plays without it, if there is one. */
function offerInstead(library, url) {
  missing.add(library);
  const other = library === "mpegts.js" ? "m3u8" : "flv";
  const works = other === "m3u8" ? playsHls(video) || !missing.has("hls.js") : !missing.has("mpegts.js");
  if (!works) return;
  $("instead").hidden = false;
  $("instead").textContent = `Play it as ${FORMATS[other]}`;
  $("instead").onclick = () => play(withFormat(url, other));
}

/** The chosen stream in the address field, the format switch, the page's own address and the commands. */
function showChoice(url) {
  $("url").value = shortForm(url, location.href);
  showFormat();
  const link = pageLink(url, location.href);
  if (link !== location.href) history.pushState(null, "", link);

  $("elsewhere").hidden = false;
  $("commands").replaceChildren(...commandRows(url, location.href));
}

function showFormat() {
  let format = "";
  try {
    format = extensionOf(readAddress($("url").value, location.href));
  } catch {
    // half typed
  }
  for (const radio of $("formats").elements) radio.checked = radio.value === format;
}

// Streams to pick.

function showPicks() {
  const played = recent().filter((entry) => !DEMO_STREAMS.includes(entry));
  $("suggestions").replaceChildren(...DEMO_STREAMS.map(pick));
  $("recent").replaceChildren(...played.map(pick));
  $("recent-line").hidden = played.length === 0;
  $("known").replaceChildren(...[...played, ...DEMO_STREAMS].map((entry) => Object.assign(element("option", ""), { value: entry })));
}

function pick(entry) {
  const button = element("button", "pick", entry);
  button.type = "button";
  button.addEventListener("click", () => playTyped(entry));
  return button;
}

// What the person does.

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  playTyped($("url").value);
});
$("stop").addEventListener("click", stop);
$("again").addEventListener("click", () => session && play(session.url));
$("golive").addEventListener("click", () => session && play(session.url));
$("begin").addEventListener("click", () => session && begin(session));
$("unmute").addEventListener("click", () => (video.muted = false));
$("forget").addEventListener("click", () => {
  forgetAll();
  showPicks();
});
$("url").addEventListener("input", showFormat);
$("formats").addEventListener("change", (event) => {
  try {
    const url = withFormat(readAddress($("url").value, location.href), event.target.value);
    if (session) return play(url);
    $("url").value = shortForm(url, location.href);
  } catch {
    showFormat();
  }
});
addEventListener("popstate", playLinked);

/** Plays what the page's own address names, if anything. */
function playLinked() {
  const linked = new URLSearchParams(location.search).get("stream");
  if (linked === null || linked === "") return stop();
  $("url").value = linked;
  showFormat();
  playTyped(linked);
}

showPicks();
playLinked();
