//! Small runs at random, as hostile as the promise allows: few environments, low rates, clocks at the ends of their
//! allowance, a second limit that refuses so that tokens come back, work after the answer put off, faults.

use crate::check::Bound;
use crate::control::Control;
use crate::dice::Dice;
use crate::scene::{Model, Scene};
use crate::table::Faults;

/// How far clocks are off, in nanoseconds: what the limiter allows for.
pub(crate) const SKEW: u64 = 5_000_000;

/// A run at random, the same for the same seed; and what its bucket promises.
pub(crate) fn scene(seed: u64, control: Control) -> (Scene, Bound) {
    let mut dice = Dice::new(seed);
    let bound = Bound { rate: 5 + dice.below(100), burst: burst(&mut dice) };
    let faulty = dice.chance(0.3);
    let often = |probability: f64| if faulty { probability } else { 0.0 };
    let scene = Scene {
        model: if dice.chance(0.3) { Model::Lambda } else { Model::Many(2 + dice.below(4) as usize) },
        config: config(bound, &mut dice),
        token: bound.token(1),
        arrivals: clusters(bound, &mut dice),
        clients: 1 + dice.below(4),
        skew: if dice.chance(0.5) { SKEW } else { 0 },
        faults: Faults {
            lost: often(0.02),
            twice: often(0.05),
            late: often(0.02),
            freeze: often(0.02),
            outage: often(0.1),
        },
        steps: 0.0,
        deaths: often(0.02),
        lag: if dice.chance(0.7) { 1 + dice.below(3_000) } else { 0 },
        control,
        from: 0,
        seed: dice.next(),
    };
    (scene, bound)
}

/// As often one that is never leased as one that is.
fn burst(dice: &mut Dice) -> u64 {
    if dice.chance(0.5) { 2 + dice.below(18) } else { 20 + dice.below(60) }
}

/// A bucket, and mostly a second limit before it or after it; some are counted in one item.
fn config(bound: Bound, dice: &mut Dice) -> String {
    let Bound { rate, burst } = bound;
    let window = 1 + dice.below(rate);
    let mut one_of = |texts: &[&'static str]| texts.get(dice.below(texts.len() as u64) as usize).copied().unwrap_or("");
    let (by, other_by) = (one_of(&["global", "request.path"]), one_of(&["global", "request.path", "request.ip"]));
    let algorithm = one_of(&["fixed_window", "sliding_window"]);
    let uses = one_of(&["bucket", "bucket, other", "other, bucket"]);
    format!(
        "version: 1
limits:
  bucket: {{rate: {rate}/s, by: {by}, burst: {burst}, on_store_failure: closed}}
  other: {{rate: {window}/s, by: {other_by}, algorithm: {algorithm}, on_store_failure: closed}}
routes:
  - {{name: all, auth: none, match: {{path: /**}}, limits: [{uses}], to: {{respond: {{body: ok}}}}}}
"
    )
}

/// Five seconds of requests in clusters with pauses between them, some long enough for the bucket to be full again.
fn clusters(bound: Bound, dice: &mut Dice) -> Vec<u64> {
    let mut times = Vec::new();
    let mut start = 0;
    while start < 5_000 {
        let (many, length) = (1 + dice.below(2 * bound.burst + 4), 1 + dice.below(400));
        times.extend((0..many).map(|_| (start + dice.below(length)) * 1_000_000));
        start += 1 + dice.below(1_500);
    }
    times.sort_unstable();
    times
}
