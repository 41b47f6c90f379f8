//! The keys in Redis, and the scripts that change what several proxies write.
//!
//! The `srs-proxy-` keys are the SRS project's proxy's, names and values alike. The
//! `srs-stream-proxy:` ones are ours; that proxy does not look at them.

use crate::balancer::origin::Origin;
use crate::stream::url::StreamUrl;

/// A JSON array of the keys of all servers.
pub const ALL_SERVERS: &str = "srs-proxy-all-servers";
/// Before the id of a server, in its key and in the value of a pin.
pub const SERVER: &str = "srs-proxy-server:";
/// A random text. Another one, or none, tells that Redis has lost what it had.
pub const EPOCH: &str = "srs-stream-proxy:epoch";
/// A sorted set of the names of our proxies, by the time of their last word in seconds.
pub const PROXIES: &str = "srs-stream-proxy:proxies";

/// The key of a server by its id.
pub fn server(id: &str) -> String {
    format!("{SERVER}{id}")
}

/// Which server a stream was given to; the value is that server's key.
pub fn pin(stream: &StreamUrl) -> String {
    format!("srs-proxy-url:{stream}")
}

/// The HLS session of a stream.
pub fn hls(stream: &StreamUrl) -> String {
    format!("srs-proxy-hls:{stream}")
}

/// The same session by its id.
pub fn session(id: &str) -> String {
    format!("srs-proxy-spbhid:{id}")
}

/// A text that our proxies share, such as how the numbers of a playlist go on.
pub fn text(name: &str) -> String {
    format!("srs-stream-proxy:text:{name}")
}

/// There while an operator wants nothing new on the origin.
pub fn drain(origin: &Origin) -> String {
    format!("srs-stream-proxy:drain:{}", lasting_id(origin))
}

/// There while the origin is suspect: some proxy could not connect it.
pub fn suspect(origin: &Origin) -> String {
    format!("srs-stream-proxy:suspect:{}", lasting_id(origin))
}

/// There for a while after an operator has removed the origin: who knows it by a heartbeat of before forgets it.
pub fn removed(id: &str) -> String {
    format!("srs-stream-proxy:removed:{id}")
}

/// An HLS viewer's session, for hooks.
pub fn viewer(id: &str) -> String {
    format!("srs-stream-proxy:viewer:{id}")
}

/// The id of the session that another name leads to, such as SRS's `hls_ctx`.
pub fn viewer_name(name: &str) -> String {
    format!("srs-stream-proxy:viewer-name:{name}")
}

/// The bytes that a viewer got from all proxies.
pub fn viewer_bytes(id: &str) -> String {
    format!("srs-stream-proxy:viewer-bytes:{id}")
}

/// What one of our proxies tells of the streams that it serves.
pub fn proxy(name: &str) -> String {
    format!("srs-stream-proxy:proxy:{name}")
}

/// What stays the same when an origin restarts. `server` alone may be a cloned image's.
fn lasting_id(origin: &Origin) -> String {
    format!("{}@{}", origin.server, origin.ip)
}

/// Reads the array, whatever is there: the functions that the scripts below begin with.
/// `cjson` makes `{}` of an empty table, which is no array for others.
macro_rules! with_list {
    ($rest:literal) => {
        concat!(
            "local function read(key)
  local text = redis.pcall('GET', key)
  local good, list = pcall(cjson.decode, type(text) == 'string' and text or '[]')
  return good and type(list) == 'table' and list or {}
end
local function write(key, list)
  redis.call('SET', key, #list == 0 and '[]' or cjson.encode(list))
end
",
            $rest
        )
    };
}

/// Stores a server and puts it on the list. `KEYS`: the list, the server, its suspicion, its drain.
/// `ARGV`: the value, its life in ms, that of a drain in seconds, `new` or `missing` (then a value
/// that is there stays), and the keys of servers that it replaces.
pub const REGISTER: &str = with_list!(
    "if ARGV[4] == 'new' then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'NX')
end
redis.call('EXPIRE', KEYS[4], ARGV[3])
local gone = {}
for i = 5, #ARGV do
  gone[ARGV[i]] = true
  redis.call('DEL', ARGV[i])
end
local before, list, there = read(KEYS[1]), {}, {}
for _, key in ipairs(before) do
  if type(key) == 'string' and not gone[key] and not there[key] then
    there[key] = true
    list[#list + 1] = key
  end
end
if not there[KEYS[2]] then list[#list + 1] = KEYS[2] end
if #list ~= #before or not there[KEYS[2]] then write(KEYS[1], list) end
return 1"
);

/// Takes dead servers off the list. `KEYS`: the list. `ARGV`: keys that seemed to be gone. Gives those
/// of them that are there, and hold no text.
pub const BURY: &str = with_list!(
    "local dead, left, list = {}, {}, {}
for _, key in ipairs(ARGV) do
  if redis.call('EXISTS', key) == 0 then
    dead[key] = true
  elseif redis.call('TYPE', key).ok ~= 'string' then
    left[#left + 1] = key
  end
end
local before = read(KEYS[1])
for _, key in ipairs(before) do
  if type(key) == 'string' and not dead[key] then list[#list + 1] = key end
end
if #list ~= #before then write(KEYS[1], list) end
return left"
);

/// Pins a stream, or renews the pin. `KEYS`: the pin. `ARGV`: the server's key, the pin's life in
/// seconds. A pin without an expiry is the other proxy's, for its publisher: it stays without.
pub const PIN: &str = "local life = redis.call('TTL', KEYS[1])
local own = redis.pcall('GET', KEYS[1]) == ARGV[1]
if life == -1 then
  if not own then redis.call('SET', KEYS[1], ARGV[1]) end
elseif own then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
return 1";

/// Renews a pin, where it is this one and has an expiry. `KEYS` and `ARGV` as for [`PIN`].
pub const KEEP: &str =
    "if redis.pcall('GET', KEYS[1]) == ARGV[1] and redis.call('TTL', KEYS[1]) >= 0 then
  return redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return 0";

/// Unpins a stream. `KEYS`: the pin. `ARGV`: the server's key that it must have. A pin without an
/// expiry is the other proxy's, whose publisher may be about to begin: it stays until the stream is
/// served from elsewhere.
pub const UNPIN: &str =
    "if redis.pcall('GET', KEYS[1]) == ARGV[1] and redis.call('TTL', KEYS[1]) >= 0 then
  return redis.call('DEL', KEYS[1])
end
return 0";

/// Takes a viewer's session, where a proxy has seen it last. `KEYS`: the session, its bytes. `ARGV`: the proxy. Gives the
/// bytes, or -1 where another proxy has seen it later, or has taken it.
pub const TAKE_VIEWER: &str = "local text = redis.call('GET', KEYS[1])
if not text then return -1 end
local good, session = pcall(cjson.decode, text)
if good and session.by ~= ARGV[1] then return -1 end
local bytes = tonumber(redis.call('GET', KEYS[2]) or 0)
redis.call('DEL', KEYS[1], KEYS[2])
return bytes";

/// Viewers whom an operator has ended a moment ago: a sorted set of their sessions by the time in seconds.
pub const KICKED: &str = "srs-stream-proxy:viewers-kicked";

/// Tells that an operator has ended a viewer. `KEYS`: the set. `ARGV`: the session, for how long it is refused in seconds.
pub const KICK: &str = "local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
return redis.call('EXPIRE', KEYS[1], ARGV[2])";

/// Keeps a viewer's session, but where another proxy has ended it. `KEYS`: the session. `ARGV`: the text, its life in
/// seconds, the proxy.
pub const KEEP_VIEWER: &str = "local text = redis.call('GET', KEYS[1])
local good, session = pcall(cjson.decode, text or '{}')
if good and (session.refused or 0) > 0 and session.by ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1";

/// Tells what a proxy serves. `KEYS`: the set of proxies, the proxy. `ARGV`: its name, the text, its
/// life in seconds.
pub const TELL: &str = "local now = redis.call('TIME')[1]
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
return 1";

/// Replaces a text, if it is the expected one still. `KEYS`: the text. `ARGV`: the expected one (empty: none), the
/// new one, its life in seconds. Gives 1, or the text that is there instead.
pub const REPLACE: &str = "local there = redis.pcall('GET', KEYS[1])
if type(there) ~= 'string' then there = '' end
if there ~= ARGV[1] then return there end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1";
