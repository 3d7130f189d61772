//! The cells of the table: which limits are simulated under which load, what is wanted of each, and what came out.

use crate::arrivals::{Pattern, arrivals};
use crate::check::{Bound, beyond, ideal};
use crate::control::Control;
use crate::dice::Dice;
use crate::scene::{Model, Scene};
use crate::table::Faults;

/// How a limit asks the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accuracy {
    Leased,
    Exact,
}

/// What goes wrong besides load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing; clocks are off by up to 5 ms.
    Fair,
    /// Lost and doubled updates, outages, frozen and dying environments; clocks as before.
    Foul,
    /// The same, and clocks off by up to 100 ms that step back and forth.
    Clocks,
}

impl Weather {
    /// In nanoseconds.
    const fn skew(self) -> u64 {
        match self {
            Self::Fair | Self::Foul => 5_000_000,
            Self::Clocks => 100_000_000,
        }
    }

    const fn is_fair(self) -> bool {
        matches!(self, Self::Fair)
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) accuracy: Accuracy,
    pub(crate) model: Model,
    pub(crate) rate: u64,
    pub(crate) pattern: Pattern,
    pub(crate) load: f64,
    pub(crate) weather: Weather,
    pub(crate) seeds: u64,
}

/// What came out of it, over all seeds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// By how many tokens the worst interval is beyond the bound.
    pub(crate) beyond: f64,
    /// Admitted requests over those of the ideal bucket.
    pub(crate) share: f64,
    pub(crate) writes: f64,
    /// The share of requests that waited for the table.
    pub(crate) blocked: f64,
    /// The most writes sent to one item in a second, without warm-up.
    pub(crate) worst_second: u32,
}

/// What is wanted of a cell beside no over-admission; `None` wants nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) share: Option<f64>,
    pub(crate) writes: Option<f64>,
    pub(crate) worst_second: Option<u32>,
}

/// Seconds left out of the figures: a full bucket is empty by then where the load is twice the limit.
const WARM_UP: u64 = 2;

impl Cell {
    pub(crate) fn wanted(&self) -> Wanted {
        if self.weather != Weather::Fair || self.accuracy == Accuracy::Exact {
            return Wanted::default();
        }
        let share = match self.pattern {
            Pattern::Steady if self.load <= 1.0 => Some(0.95),
            Pattern::Steady => Some(0.93),
            Pattern::Bursty => None,
        };
        let steady = self.pattern == Pattern::Steady;
        let writes = match (self.model, self.rate) {
            (Model::Lambda, 1_000) if steady && self.load <= 0.5 => Some(0.4),
            (Model::Lambda, 1_000) if steady && self.load <= 0.9 => Some(0.3),
            (Model::Many(_), 100_000) if steady && self.load <= 1.0 => Some(0.02),
            (Model::Lambda | Model::Many(_), _) => None,
        };
        Wanted { share, writes, worst_second: steady.then_some(1_100) }
    }

    /// Plays it for each seed.
    ///
    /// # Errors
    /// What is wrong with its config.
    pub(crate) fn play(&self) -> Result<Figures, String> {
        let bound = self.bound();
        let from = WARM_UP * 1_000_000_000;
        let (mut figures, mut requests, mut admitted, mut best) =
            (Figures { beyond: f64::MIN, ..Figures::default() }, 0, 0, 0);
        let (mut writes, mut blocked) = (0, 0);
        for seed in 1..=self.seeds {
            let scene = self.scene(seed);
            let played = scene.play()?;
            let mut counted: Vec<u64> = played.entries.iter().filter_map(|entry| entry.counts).collect();
            figures.beyond = figures.beyond.max(beyond(bound, 2 * self.weather.skew(), &mut counted));
            figures.worst_second = figures.worst_second.max(played.worst_second);
            let late = || played.entries.iter().filter(|entry| entry.arrived >= from);
            requests += late().count();
            admitted += late().filter(|entry| entry.counts.is_some()).count();
            blocked += late().filter(|entry| entry.waited).count();
            best += ideal(bound, &scene.arrivals, from);
            writes += played.writes;
        }
        figures.share = admitted as f64 / best as f64;
        figures.writes = writes as f64 / requests as f64;
        figures.blocked = blocked as f64 / requests as f64;
        Ok(figures)
    }

    const fn bound(&self) -> Bound {
        Bound { rate: self.rate, burst: self.rate }
    }

    fn scene(&self, seed: u64) -> Scene {
        let mut dice = Dice::new(seed ^ self.rate.rotate_left(32));
        let often = |probability: f64| if self.weather.is_fair() { 0.0 } else { probability };
        Scene {
            model: self.model,
            config: self.config(),
            token: self.bound().token(self.model.shards(self.rate).0),
            arrivals: arrivals(self.pattern, self.load * self.rate as f64, self.secs(), &mut dice),
            clients: 1,
            skew: self.weather.skew(),
            faults: Faults {
                lost: often(0.01),
                twice: often(0.03),
                late: often(0.01),
                freeze: often(0.003),
                outage: often(0.05),
            },
            steps: if self.weather == Weather::Clocks { 0.05 } else { 0.0 },
            deaths: often(0.01),
            lag: 0,
            control: Control::Honest,
            from: WARM_UP * 1_000_000_000,
            seed: dice.next(),
        }
    }

    /// So many simulated seconds: enough for the figures to be steady, few enough to be quick.
    fn secs(&self) -> f64 {
        match self.rate {
            0..=10 => 62.0,
            11..=100 => 32.0,
            101..=1_000 => 14.0,
            1_001..=10_000 => 6.0,
            _ if self.model == Model::Lambda => 3.0,
            _ => 4.0,
        }
    }

    fn config(&self) -> String {
        let rate = self.rate;
        let accuracy = match self.accuracy {
            Accuracy::Leased => "",
            Accuracy::Exact => ", accuracy: exact",
        };
        let shards = match self.model.shards(rate) {
            (shards, true) => format!(", shards: {shards}"),
            (_, false) => String::new(),
        };
        let to = match self.model {
            Model::Lambda => "service",
            Model::Many(_) => "{respond: {body: ok}}",
        };
        format!(
            "version: 1
upstreams: {{service: {{targets: \"http://service.internal\"}}}}
limits:
  limit: {{rate: {rate}/s, by: global, burst: {rate}, on_store_failure: closed{accuracy}{shards}}}
routes:
  - {{name: all, auth: none, match: {{path: /**}}, limits: limit, to: {to}}}
"
        )
    }
}

/// How requests come, and how many times the limit they are.
pub(crate) const LOADS: [(Pattern, f64); 6] = [
    (Pattern::Steady, 0.5),
    (Pattern::Steady, 0.9),
    (Pattern::Steady, 1.0),
    (Pattern::Steady, 2.0),
    (Pattern::Bursty, 0.5),
    (Pattern::Bursty, 2.0),
];

/// All cells of the table.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for model in [Model::Lambda, Model::Many(200)] {
        let cell = |accuracy, rate, (pattern, load), weather, seeds| Cell {
            accuracy,
            model,
            rate,
            pattern,
            load,
            weather,
            seeds,
        };
        for rate in [10, 100, 1_000, 10_000, 100_000] {
            // Thousands of environments take most of the time of all cells.
            let few = (model, rate) == (Model::Lambda, 100_000);
            let loads =
                LOADS.iter().filter(|load| !few || [(Pattern::Steady, 1.0), (Pattern::Steady, 2.0)].contains(load));
            cells.extend(loads.map(|load| cell(Accuracy::Leased, rate, *load, Weather::Fair, 1)));
        }
        cells.extend(LOADS.map(|load| cell(Accuracy::Exact, 100, load, Weather::Fair, 1)));
        for (rate, weather) in [10, 100, 1_000].map(|rate| [(rate, Weather::Foul), (rate, Weather::Clocks)]).concat() {
            for load in [1.0, 2.0] {
                cells.push(cell(Accuracy::Leased, rate, (Pattern::Steady, load), weather, 2));
            }
        }
    }
    cells
}
