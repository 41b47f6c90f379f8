//! Late viewers: how long after its request one has the first frame of a stream that others watch already.

use std::time::Duration;

use crate::Result;
use crate::audience::{self, Plan};
use crate::encoder_origin::EncoderOrigin;
use crate::figures::{Figure, Figures};
use crate::live_flv::{ONE, fits, put_before, set_seen};
use crate::proxies::Target;
use crate::report::Report;
use crate::table::Section;

pub const LATE: &str = "late viewers, among:";

/// Between two late viewers: no part of a group of pictures (2 s), so that they come at all of its places.
const EVERY: Duration = Duration::from_millis(53);

pub fn measure(report: &mut Report) -> Result<()> {
    for viewers in report.options.viewers(&[500]) {
        let viewers = report.options.scaled(viewers);
        let load = format!("{LATE} {viewers}");
        if !fits(report, &load, viewers + 100) {
            continue;
        }
        report.compare(
            Section::FirstFrame,
            &load,
            &Target::ALL,
            |report, target| {
                let directory = report.new_directory()?;
                let origin = EncoderOrigin::start(1, 0, &directory)?;
                let proxy = put_before(report, target, &origin, true, &directory)?;
                let window = report.options.window();
                let mut plan = Plan::new(proxy.address, ONE, viewers, window);
                plan.add_guests(EVERY);
                let (mut seen, ()) = audience::watch(&plan, || ())?;
                seen.viewers.drain(..plan.guests);
                let mut waits: Vec<u32> = seen
                    .viewers
                    .iter()
                    .filter_map(|guest| guest.first_frame_us)
                    .collect();
                if waits.is_empty() {
                    return Err("no late viewer had a frame".to_owned());
                }
                let mut figures = Figures::default();
                figures.set_quantiles(&mut waits);
                set_seen(&mut figures, &seen);
                Ok(figures.only(&[
                    Figure::P50,
                    Figure::P99,
                    Figure::Max,
                    Figure::Refused,
                    Figure::Faults,
                ]))
            },
        );
    }
    Ok(())
}
