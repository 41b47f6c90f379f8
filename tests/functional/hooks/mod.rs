mod clients;
mod hls;
mod live;
mod mix;
mod together;
mod upgrade;

use crate::common::hooks::HookServer;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;

/// A proxy before `origin` whose viewers `hooks` decides about.
fn proxy(origin: &Origin, hooks: &HookServer, more: &[(&str, &str)]) -> Proxy {
    let (play, stop) = (hooks.url("/play?key=s3cret"), hooks.url("/stop"));
    let mut settings = vec![("PROXY_ON_PLAY", play.as_str()), ("PROXY_ON_STOP", &stop)];
    settings.extend(more);
    Proxy::before(origin, &settings)
}
