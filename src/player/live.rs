//! Live streams: FLV, TS, AAC and MP3, relayed until either side ends.

use crate::balancer::PinFormat;
use crate::channel::{
    Channel, ChannelKey, Delivery, Entry, First, Joined, Opened, Reopen, Source, Viewer,
};
use crate::http::Headers;
use crate::media::format::Format;
use crate::player::admission;
use crate::player::context::PlayerContext;
use crate::player::fetch::{
    FetchLog, FetchOptions, FetchOutcome, FetchRequest, Fetched, fetch, fetch_logging,
};
use crate::player::live_relay::{LiveRelay, StreamNews};
use crate::player::public_hosts::PublicHosts;
use crate::player::redirect::Redirect;
use crate::player::relay::{Piece, relay};
use crate::player::request::MediaRequest;
use crate::runtime::cancel::CancelToken;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::url::StreamUrl;
use crate::upstream::forwarding::to_player;
use crate::upstream::{OriginRequest, OriginResponse};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an origin may take to go on with a stream: viewers see a still picture meanwhile. One that has the stream
/// answers at once; one whose publisher has just gone would hold the request.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers a request for a live stream: with its channel's pieces where it may be shared, else with an origin
/// connection of its own.
pub fn live(context: &Arc<PlayerContext>, exchange: Exchange, request: &MediaRequest) {
    let Some(stream) = &request.stream else {
        return exchange.problem(400, "This URL names no stream.");
    };
    let Some(mut exchange) = admission::live(&context.hooks, exchange, stream) else {
        return;
    };
    let Some(key) = channel_key(context, &exchange, request, stream) else {
        return alone(context, exchange, request, stream);
    };
    let mut slow: Option<Arc<Channel>> = None;
    let mut refused = 0;
    // What the first viewer was refused may be this one's: it asks again, once with those who wait with it, then alone.
    while refused < 2 {
        let entry = context
            .channels
            .enter(&key, exchange.cancel(), slow.as_ref());
        let viewer = match entry {
            Entry::First(first) => return open(context, exchange, request, stream, first),
            Entry::Other(viewer) => viewer,
        };
        match viewer.wait_open() {
            Joined::Open(headers, source) => {
                return join(context, exchange, stream, &viewer, &headers, &source);
            }
            Joined::Left => {
                return exchange.abandon("the client left while its stream was looked for");
            }
            Joined::Private => refused += 1,
            Joined::Slow => slow = Some(viewer.channel().clone()),
            Joined::Unproven => refused = 2,
        }
        exchange.cancel().clear_on_cancel();
        viewer.release();
    }
    exchange.record.pick = None;
    alone(context, exchange, request, stream);
}

/// The channel that a request may share; `None` where it asks for a part, for a head, or says who asks.
fn channel_key(
    context: &PlayerContext,
    exchange: &Exchange,
    request: &MediaRequest,
    stream: &StreamUrl,
) -> Option<ChannelKey> {
    let fields = &exchange.head.headers;
    let personal = ["authorization", "cookie"];
    // The range from 0 is the whole (RFC 9110 section 14.2): ffmpeg and mpv ask for it always.
    let is_part = |range: &[u8]| range.trim_ascii() != b"bytes=0-";
    if !context.channels.is_on()
        || exchange.is_head()
        || fields.all("range").any(is_part)
        || personal.iter().any(|name| fields.one(name).is_some())
    {
        return None;
    }
    Some(ChannelKey {
        format: format(exchange.head.path())?,
        stream: stream.clone(),
        target: request.target.clone(),
        site: site(fields),
    })
}

fn format(path: &str) -> Option<Format> {
    let (_, extension) = path.rsplit_once('.')?;
    Format::from_extension(extension)
}

/// The site of the page that a player is on, which an origin may admit players by (SRS's `refer`).
fn site(fields: &Headers) -> String {
    let page = fields.text("origin").or_else(|| fields.text("referer"));
    let page = page.unwrap_or_default();
    let begin = page.find("://").map_or(0, |at| at + 3);
    let end = page[begin..].find(['/', '?', '#']);
    page[..end.map_or(page.len(), |end| begin + end)].to_ascii_lowercase()
}

/// Whether a response's body may go to several viewers: a stream without an end, and as everybody gets it.
fn is_shareable(response: &OriginResponse) -> bool {
    let fields = &response.headers;
    response.status == 200
        && response.length.is_none()
        && fields.one("content-encoding").is_none()
        && fields.one("set-cookie").is_none()
}

/// Serves the first viewer of a channel: its request fetches, on behalf of all who come meanwhile.
fn open(
    context: &Arc<PlayerContext>,
    mut exchange: Exchange,
    request: &MediaRequest,
    stream: &StreamUrl,
    first: First,
) {
    let headers = context.forwarding.to_origin(
        &exchange.head,
        exchange.peer().ip(),
        exchange.scheme(),
        false,
    );
    let cancel = first.viewer.channel().cancel();
    let fetch_request = FetchRequest {
        media: request,
        headers: &headers,
        head_only: false,
        cancel: &cancel,
        options: FetchOptions::default(),
    };
    let outcome = fetch(context, &mut exchange, &fetch_request);
    let fetched = match outcome {
        FetchOutcome::Fetched(fetched) if is_shareable(&fetched.response) => fetched,
        outcome => {
            drop(first); // the others ask for themselves
            return answer(context, exchange, stream, outcome);
        }
    };
    let opened = opened(fetched);
    let (headers_to_player, source) = (&opened.headers, &opened.source);
    // Where others have looked for it at the same time, one connection is enough.
    let settled = context
        .channels
        .settle(&first, headers_to_player, source, exchange.cancel());
    if let Some(viewer) = settled {
        drop((first, opened));
        return match viewer.wait_open() {
            Joined::Open(headers, source) => {
                join(context, exchange, stream, &viewer, &headers, &source);
            }
            _ => {
                exchange.cancel().clear_on_cancel();
                viewer.release();
                alone(context, exchange, request, stream);
            }
        };
    }
    let delivery = if first.viewer.has_left() {
        exchange.abandon("the client left while its stream was looked for");
        None
    } else {
        deliver(context, exchange, stream, headers_to_player, source)
    };
    let again = Again {
        context: context.clone(),
        request: request.clone(),
        headers,
    };
    first.open(opened.body, delivery, Arc::new(again));
}

/// Serves a viewer of a channel that is open.
fn join(
    context: &PlayerContext,
    mut exchange: Exchange,
    stream: &StreamUrl,
    viewer: &Arc<Viewer>,
    headers: &Headers,
    source: &Source,
) {
    exchange.record.origin = Some(source.address.clone().into());
    let entry = viewer.entry();
    match deliver(context, exchange, stream, headers, source) {
        Some(delivery) => viewer.begin(delivery, entry),
        None => viewer.release(),
    }
}

/// Begins a viewer's response; `None` where the client has left.
fn deliver(
    context: &PlayerContext,
    mut exchange: Exchange,
    stream: &StreamUrl,
    headers: &Headers,
    source: &Source,
) -> Option<Box<Delivery>> {
    let head = ResponseHead {
        status: 200,
        headers: headers.clone(),
        length: None,
        ..ResponseHead::default()
    };
    exchange.forget_request();
    let stats = context.live_viewer(stream, &source.origin, &source.address);
    let stats = stats.listed(exchange.client_tag());
    let body = exchange.start(&head).ok()?;
    Some(Delivery::new(body, stats))
}

fn opened(fetched: Fetched) -> Opened {
    let Fetched {
        origin,
        address,
        response,
    } = fetched;
    Opened {
        source: Source {
            origin: origin.id,
            address,
        },
        headers: to_player(&response.headers),
        body: response.body,
    }
}

/// A channel's first request, to be made again when its origin breaks off.
struct Again {
    context: Arc<PlayerContext>,
    request: MediaRequest,
    headers: Headers,
}

impl Again {
    /// The stream is another origin's from now on, for operators too.
    fn goes_on(&self, fetched: Fetched) -> Opened {
        if let Some(stream) = &self.request.stream {
            let (origin, address) = (&fetched.origin.id, &fetched.address);
            self.context.touch(stream, origin, address, None);
        }
        opened(fetched)
    }
}

impl Reopen for Again {
    fn elsewhere(&self, but_not: &Source, cancel: &Arc<CancelToken>) -> Option<Opened> {
        let (context, stream) = (&self.context, self.request.stream.as_ref()?);
        let candidate = context
            .locator
            .listed_elsewhere(stream, &but_not.origin, cancel)?;
        let address = candidate.origin.http_address()?;
        let request = OriginRequest {
            address,
            secured_by: candidate.origin.secured_by(),
            head_only: false,
            target: &self.request.target,
            headers: &self.headers,
            live: true,
            timeout: Some(REOPEN_TIMEOUT),
            blocks: None,
        };
        let response = context.client.send(request, cancel).ok()?;
        let fetched = is_shareable(&response).then(|| Fetched {
            address: address.to_string(),
            origin: candidate,
            response,
        })?;
        let path = self.request.target.split('?').next().unwrap_or_default();
        let format = PinFormat::Live(format(path));
        context.locator.moved(stream, &fetched.origin.id, format);
        Some(self.goes_on(fetched))
    }

    fn reopen(&self, cancel: &Arc<CancelToken>) -> Option<Opened> {
        let request = FetchRequest {
            media: &self.request,
            headers: &self.headers,
            head_only: false,
            cancel,
            options: FetchOptions {
                // Viewers who are being served need no place among those who wait.
                hold: Some(self.context.locator.wait()),
                ..FetchOptions::default()
            },
        };
        let mut log = FetchLog::since(Instant::now());
        match fetch_logging(&self.context, &mut log, &request, Some(REOPEN_TIMEOUT)) {
            FetchOutcome::Fetched(fetched) if is_shareable(&fetched.response) => {
                Some(self.goes_on(fetched))
            }
            _ => None,
        }
    }

    fn ended(&self, source: &Source) {
        if let Some(stream) = &self.request.stream {
            self.context.locator.broke_off(stream, &source.origin);
        }
    }
}

/// Serves a viewer by an origin connection of its own.
fn alone(
    context: &PlayerContext,
    mut exchange: Exchange,
    request: &MediaRequest,
    stream: &StreamUrl,
) {
    let headers = context.forwarding.to_origin(
        &exchange.head,
        exchange.peer().ip(),
        exchange.scheme(),
        false,
    );
    let cancel = exchange.cancel().clone();
    let fetch_request = FetchRequest {
        media: request,
        headers: &headers,
        head_only: exchange.is_head(),
        cancel: &cancel,
        options: FetchOptions::default(),
    };
    let outcome = fetch(context, &mut exchange, &fetch_request);
    answer(context, exchange, stream, outcome);
}

/// Brings a redirect that stays on the origin back to this proxy.
fn bring_back(context: &PlayerContext, exchange: &Exchange, fetched: &mut Fetched) {
    let (head, public) = (&exchange.head, context.public_url.as_ref());
    let peer = exchange.peer().ip();
    let forwarded = context.forwarding.public_host(&head.headers, peer);
    let proto = context
        .forwarding
        .proto(&head.headers, peer, exchange.scheme());
    let hosts = PublicHosts::new(head.host.as_deref(), forwarded.as_deref());
    let redirect = Redirect {
        hosts: &hosts.and(public).by(&proto),
        way_up: public.and_then(|url| url.way_up(head.path())),
        session: None,
    };
    redirect.bring_back(&mut fetched.response, &fetched.address);
}

/// Passes on what came of asking, to this one viewer.
fn answer(
    context: &PlayerContext,
    exchange: Exchange,
    stream: &StreamUrl,
    mut outcome: FetchOutcome,
) {
    if let FetchOutcome::Fetched(fetched) = &mut outcome {
        bring_back(context, &exchange, fetched);
    }
    match outcome {
        // What has a length has an end: a file, whatever its name.
        FetchOutcome::Fetched(fetched) if fetched.response.length.is_some() => {
            let Fetched {
                origin,
                address,
                response,
            } = fetched;
            let meter = context.touch(stream, &origin.id, &address, None);
            relay(exchange, response, Piece::Segment, &meter);
        }
        FetchOutcome::Fetched(fetched) if fetched.response.status == 200 && !exchange.is_head() => {
            let Fetched {
                origin,
                address,
                response,
            } = fetched;
            let viewer = context.live_viewer(stream, &origin.id, &address);
            let viewer = viewer.listed(exchange.client_tag());
            let relay = LiveRelay {
                exchange,
                response,
                meter: viewer.meter.clone(),
                viewer: Some(viewer),
                reader: None,
                connection: context.channels.count_connection(),
                news: Some(StreamNews {
                    locator: context.locator.clone(),
                    stream: stream.clone(),
                    origin: origin.id,
                }),
            };
            relay.start(&context.live);
        }
        FetchOutcome::Fetched(fetched) => {
            let Fetched {
                origin,
                address,
                response,
            } = fetched;
            let meter = context.touch(stream, &origin.id, &address, None);
            relay(exchange, response, Piece::Live, &meter);
        }
        FetchOutcome::Buffered(answer) => answer.answer(exchange),
        FetchOutcome::Failed(failure) | FetchOutcome::Refused(failure) => failure.answer(exchange),
        FetchOutcome::Left => exchange.abandon("the client left while its stream was looked for"),
    }
}

#[cfg(test)]
mod tests {
    use super::site;
    use crate::http::Headers;

    #[test]
    fn a_site_is_a_scheme_and_a_host() {
        for (lines, expected) in [
            (vec![], ""),
            (vec![("Origin", "https://a.example")], "https://a.example"),
            (
                vec![("Referer", "HTTPS://A.example:8/x?y")],
                "https://a.example:8",
            ),
            (
                vec![("Referer", "http://b/#x"), ("Origin", "http://a")],
                "http://a",
            ),
            (vec![("Referer", "b.example/x")], "b.example"),
        ] {
            let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
            assert_eq!(site(&Headers::of(lines)), expected);
        }
    }
}
