//! An exchange: one request, and the way its answer goes to the client.

use crate::http::head::{RequestHead, Version};
use crate::listener::{ClientConnection, Ending, ReceivedRequest};
use crate::runtime::cancel::CancelToken;
use crate::runtime::semaphore::Permit;
use crate::server::context::ServerContext;
use crate::server::record::AccessRecord;
use crate::server::response::{Framing, ResponseHead, error_bytes, head_bytes};
use crate::stream::clients::ClientTag;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A request with its client. It is answered once; dropped without, it is a 500.
pub struct Exchange {
    pub head: Arc<RequestHead>,
    pub body: Vec<u8>,
    pub record: AccessRecord,
    pub(super) client: Arc<ClientConnection>,
    pub(super) context: Arc<ServerContext>,
    pub(super) answered: bool,
    /// A stream's, until it ends.
    permit: Option<Permit>,
    /// Whether the connection stays open after the response.
    keep_alive: bool,
}

impl Exchange {
    pub(super) fn new(
        received: ReceivedRequest,
        client: Arc<ClientConnection>,
        context: Arc<ServerContext>,
    ) -> Self {
        let ReceivedRequest {
            head,
            body,
            id,
            since,
            ..
        } = received;
        let record = context.record(id, client.peer(), Some(&*head), since);
        let keep_alive = head.keep_alive;
        Self {
            head,
            body,
            record,
            client,
            context,
            answered: false,
            permit: None,
            keep_alive,
        }
    }

    /// The same exchange, which holds a stream's permit until it ends.
    pub(super) fn with_permit(mut self, permit: Option<Permit>) -> Self {
        self.permit = permit;
        self
    }

    /// Takes a stream's permit where the exchange has none: what may not end needs one, whatever its URL. Returns false
    /// where none is left.
    pub fn take_permit(&mut self) -> bool {
        if self.permit.is_none() {
            self.permit = self.context.streams.take();
        }
        self.permit.is_some()
    }

    /// Gives the request back to its connection, unanswered and unlogged, for another thread to take.
    pub(super) fn hand_back(mut self) {
        self.answered = true;
        let id = self.record.forget();
        let request = ReceivedRequest {
            head: self.head.clone(),
            body: std::mem::take(&mut self.body),
            is_long: false, // only short requests are tried on their connection's thread
            id,
            since: self.record.since,
        };
        self.client.give_back(request);
    }

    /// Lets go of what the rest of the exchange does not need: a stream may run for hours.
    pub fn forget_request(&mut self) {
        self.head = Arc::new(self.head.without_lines());
        self.body = Vec::new();
    }

    /// The other end of the connection: the client, or a proxy in front of it.
    pub fn peer(&self) -> SocketAddr {
        self.client.peer()
    }

    /// The scheme of the request's URL, as far as this connection tells: `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self.client.is_secure() {
            true => "https",
            false => "http",
        }
    }

    /// Who watches, for the list of live viewers.
    pub fn client_tag(&self) -> ClientTag {
        let client = Arc::downgrade(&self.client);
        ClientTag {
            id: self.record.id.to_string(),
            address: self.record.labels.viewer,
            end: Arc::new(move || {
                if let Some(client) = client.upgrade() {
                    client.end();
                }
            }),
        }
    }

    /// What ends when the client leaves.
    pub fn cancel(&self) -> &Arc<CancelToken> {
        &self.client.cancel
    }

    /// Whether the head alone is wanted.
    pub fn is_head(&self) -> bool {
        self.head.method == "HEAD"
    }

    /// Answers with a whole body.
    pub fn answer(mut self, mut head: ResponseHead, body: &[u8]) {
        head.length = Some(body.len() as u64);
        self.answered = true;
        let (bytes, framing) = self.render(&head);
        self.record.respond(head.status);
        let body = if framing == Framing::Nothing {
            &[]
        } else {
            body
        };
        self.record.bytes = body.len() as u64;
        let mut parts = [IoSlice::new(&bytes), IoSlice::new(body)];
        match self.client.send(&mut parts, self.context.stall) {
            Ok(()) => self.end(self.whole()),
            Err(error) => {
                self.record.detail = Some(format!("sending to the client: {error}"));
                self.end(Ending::Broken { reset: false });
            }
        }
    }

    /// Answers with an error in the server's style: one line that says what to do.
    pub fn problem(self, status: u16, message: &str) {
        self.problem_with(ResponseHead::new(status), message);
    }

    /// The same with header lines of one's own.
    pub fn problem_with(self, head: ResponseHead, message: &str) {
        let (kind, body) = self.context.profile.error(head.status, message);
        self.answer(head.with("Content-Type", kind), body.as_bytes());
    }

    /// The client has left before there was an answer: none is sent. The log has 499 for it, as
    /// nginx's has.
    pub fn abandon(mut self, why: &str) {
        self.answered = true;
        self.record.status = 499;
        self.record.detail = Some(why.to_owned());
        self.end(Ending::Broken { reset: false });
    }

    /// The worker is done with the client, and says so: first in the log, for a client that asks again
    /// gets another worker.
    pub(super) fn end(&mut self, ending: Ending) {
        if self.client.is_cut() {
            // The worker has seen no more than that the client's connection is gone.
            let why = match self.client.is_ended_by_operator() {
                true => "ended by an operator",
                false => "cut here: this server is ending",
            };
            self.record.detail = Some(why.to_owned());
        }
        self.record.end();
        self.client.finish(ending);
    }

    /// Decides, when the head is rendered, whether the client is told that the connection stays open.
    fn decide_keep_alive(&mut self) -> bool {
        let ends = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        self.keep_alive &= !ends(&self.context.closing) && !ends(&self.context.handed_over);
        self.keep_alive
    }

    fn keeps_alive(&self) -> bool {
        self.keep_alive && !self.context.closing.load(Ordering::Relaxed)
    }

    /// How a whole response of known end leaves the connection.
    pub(super) fn whole(&self) -> Ending {
        if self.keeps_alive() {
            Ending::KeepAlive
        } else {
            Ending::Close
        }
    }

    /// Answers with an error only where the client's socket takes it at once, and ends the
    /// connection: for those who wait for nobody.
    pub(super) fn answer_at_once(mut self, head: ResponseHead, message: &str) {
        self.give_up(head, message);
    }

    fn give_up(&mut self, head: ResponseHead, message: &str) {
        self.answered = true;
        self.keep_alive = false;
        self.record.respond(head.status);
        let bytes = error_bytes(
            self.context.profile,
            &self.record.id,
            head,
            message,
            self.is_head(),
        );
        let sent = self.client.send_at_once(&bytes);
        let reset = !sent;
        self.end(if sent {
            Ending::Close
        } else {
            Ending::Broken { reset }
        });
    }

    pub(super) fn render(&mut self, head: &ResponseHead) -> (Vec<u8>, Framing) {
        let status = head.status;
        let bodiless = self.is_head() || status == 204 || status == 304 || status < 200;
        let framing = match (head.length, self.head.version) {
            _ if bodiless => Framing::Nothing,
            (Some(_), _) => Framing::Length,
            (None, Version::Http11) => Framing::Chunked,
            (None, Version::Http10) => Framing::UntilClose,
        };
        if framing == Framing::UntilClose {
            self.keep_alive = false;
        }
        let profile = self.context.profile;
        let connection = profile.connection(self.decide_keep_alive(), self.head.version);
        let bytes = head_bytes(profile, &self.record.id, head, framing, connection);
        (bytes, framing)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // A handler panicked, or forgot: the player gets its answer all the same.
        self.record.detail = Some("the handler did not answer".to_owned());
        self.give_up(
            ResponseHead::new(500),
            "Something went wrong here. Try again.",
        );
    }
}
