//! Handing what is in memory to the process that takes over, and taking it there.

use crate::balancer::Balancer;
use crate::balancer::memory::Memory;
use crate::balancer::snapshot::{BalancerSnapshot, OriginSnapshot};
use crate::stream::url::StreamUrl;
use log::warn;
use std::time::{Duration, Instant};

impl Memory {
    pub(super) fn take_snapshot(&self) -> BalancerSnapshot {
        let now = Instant::now();
        let origins = self.snapshot().into_iter();
        let origins = origins.map(|(origin, heartbeat, draining)| {
            let age = now.saturating_duration_since(heartbeat).as_millis();
            OriginSnapshot {
                origin: (*origin).clone(),
                heartbeat_age: u64::try_from(age).unwrap_or(u64::MAX),
                draining,
            }
        });
        let pins = self.pins().into_iter();
        BalancerSnapshot {
            origins: origins.collect(),
            pins: pins
                .map(|(stream, id)| (stream.to_string(), id.to_string()))
                .collect(),
        }
    }

    pub(super) fn restore_snapshot(&self, snapshot: BalancerSnapshot) {
        let now = Instant::now();
        for it in snapshot.origins {
            let age = Duration::from_millis(it.heartbeat_age);
            // A host that has been up for less than that age has no such moment.
            self.absorb(&it.origin, now.checked_sub(age).unwrap_or(now));
            if it.draining
                && let Err(error) = self.drain(&it.origin.id(), true)
            {
                warn!("origin {} cannot be drained: {error}", it.origin.id());
            }
        }
        for (stream, id) in snapshot.pins {
            if let Some(stream) = StreamUrl::parse(&stream) {
                self.pin_as_told(&stream, &id.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::OriginId;
    use crate::balancer::origin::{Endpoints, Origin, OriginState};

    fn origin(pid: &str, port: u16) -> Origin {
        Origin {
            server: format!("server{pid}"),
            service: "service".to_owned(),
            pid: pid.to_owned(),
            device_id: String::new(),
            ip: [127, 0, 0, 1].into(),
            endpoints: Endpoints {
                http: vec![port.to_string()],
                ..Endpoints::default()
            },
        }
    }

    #[test]
    fn origins_drains_and_pins_go_on_in_another_process() {
        let ttl = Duration::from_secs(60);
        let old = Memory::new(ttl);
        let (one, two) = (origin("1", 8081), origin("2", 8082));
        old.register(one.clone()).unwrap();
        old.register(two.clone()).unwrap();
        old.drain(&two.id(), true).unwrap();
        let stream = StreamUrl::parse("__defaultVhost__/live/a").unwrap();
        old.pin_as_told(&stream, &two.id());

        let text = serde_json::to_string(&Balancer::snapshot(&old)).unwrap();
        let new = Memory::new(ttl);
        new.restore(serde_json::from_str(&text).unwrap());

        let states = |memory: &Memory| -> Vec<(OriginId, OriginState, usize)> {
            let views = memory.origins().into_iter();
            let mut states: Vec<_> = views
                .map(|view| (view.id.clone(), view.state, view.streams))
                .collect();
            states.sort();
            states
        };
        assert_eq!(states(&new), states(&old));
        assert_eq!(states(&new)[1], (two.id(), OriginState::Draining, 1));
    }

    #[test]
    fn a_heartbeat_is_as_old_as_it_was() {
        let snapshot = BalancerSnapshot {
            origins: vec![OriginSnapshot {
                origin: origin("1", 8081),
                heartbeat_age: 5_000,
                draining: false,
            }],
            pins: Vec::new(),
        };
        let memory = Memory::new(Duration::from_secs(4));
        memory.restore(snapshot);
        let views = memory.origins();
        assert!(views[0].heartbeat_age >= Duration::from_secs(5));
        assert_eq!(views[0].state, OriginState::Stale);
    }
}
