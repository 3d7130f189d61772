//! One run: environments, one table, requests as they come.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tollgate::exchange::After;

use crate::control::Control;
use crate::dice::Dice;
use crate::environment::{Call, Environment, Service};
use crate::table::{Faults, Shared};
use crate::world::{Entry, Ledger, Truth};

/// Which environments there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// One request an environment at a time, the one used last first; made as they are needed, gone when idle.
    Lambda,
    /// So many, each with any number of requests at once, which fall on them at random.
    Many(usize),
}

impl Model {
    /// Into how many items a limit of so many a second, and a burst of as many, is divided (state.md §4.7); and whether
    /// its config has to say so, since more environments ask at once than an account has where nothing is said.
    pub(crate) fn shards(self, rate: u64) -> (u64, bool) {
        if matches!(self, Self::Lambda) && rate > 20_000 {
            return (rate / 2_000, true);
        }
        let environments = (rate / 20).min(1_000);
        let needed = (environments * 1_000).div_ceil(400 * 250).max(rate.div_ceil(25_000));
        (needed.min(rate / 50).clamp(1, 64), false)
    }
}

/// How long an environment of [`Model::Lambda`] lives without a request.
const IDLE: u64 = 10_000_000_000;

/// What an invocation takes besides, a refused one too.
const INVOCATION: Duration = Duration::from_millis(1);

/// What happens in a run.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) model: Model,
    pub(crate) config: String,
    /// What one token is of an item of the limit that is checked, in nanoseconds.
    pub(crate) token: i128,
    /// When requests come, in nanoseconds from the start.
    pub(crate) arrivals: Vec<u64>,
    /// From how many clients, which matters to limits by address.
    pub(crate) clients: u64,
    /// How far clocks may be off, in nanoseconds.
    pub(crate) skew: u64,
    pub(crate) faults: Faults,
    /// How often an environment's clock is set anew before a request.
    pub(crate) steps: f64,
    /// How often an environment dies in the midst of a request.
    pub(crate) deaths: f64,
    /// How long the work after an answer may be put off, in milliseconds: the environment is frozen before it begins.
    pub(crate) lag: u64,
    pub(crate) control: Control,
    /// From when on figures are taken.
    pub(crate) from: u64,
    pub(crate) seed: u64,
}

/// What a run showed.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) entries: Vec<Entry>,
    pub(crate) writes: u64,
    pub(crate) worst_second: u32,
}

impl Scene {
    /// Plays it, the same each time.
    ///
    /// # Errors
    /// What is wrong with the config.
    pub(crate) fn play(&self) -> Result<Played, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(self.run())
    }

    async fn run(&self) -> Result<Played, String> {
        let truth = Truth::begin();
        let mut dice = Dice::new(self.seed);
        let shared = Shared::new(truth, self.faults, self.control, self.from, Dice::new(dice.next()));
        let stage = Arc::new(Stage {
            truth,
            ledger: Arc::default(),
            shared,
            service: Arc::new(Service(Mutex::new(Dice::new(dice.next())))),
            idle: Mutex::default(),
        });
        let fixed = match self.model {
            Model::Lambda => Vec::new(),
            Model::Many(many) => (0..many).map(|_| self.environment(&stage, &mut dice)).collect::<Result<_, _>>()?,
        };
        for at in &self.arrivals {
            if *at > truth.now() {
                tokio::time::sleep_until(truth.at(*at)).await;
            }
            let environment = match fixed.get(dice.below(fixed.len().max(1) as u64) as usize) {
                Some(environment) => Arc::clone(environment),
                None => match stage.idle_one() {
                    Some(environment) => environment,
                    None => self.environment(&stage, &mut dice)?,
                },
            };
            if dice.chance(self.steps) {
                environment.step(self.off(&mut dice));
            }
            let turn = Turn {
                call: Call { client: dice.below(self.clients.max(1)) as u8, seed: dice.next() },
                dies: dice.chance(self.deaths).then(|| Duration::from_millis(dice.below(60))),
                lag: Duration::from_millis(if self.lag > 0 { dice.below(self.lag) } else { 0 }),
                alone: self.model == Model::Lambda,
            };
            tokio::spawn(turn.play(environment, Arc::clone(&stage)));
        }
        // Whatever still runs ends meanwhile.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let entries = stage.ledger.take();
        Ok(Played { entries, writes: stage.shared.writes(), worst_second: stage.shared.worst_second() })
    }

    fn environment(&self, stage: &Stage, dice: &mut Dice) -> Result<Arc<Environment>, String> {
        let off = self.off(dice);
        Environment::start(&self.config, &stage.shared, &stage.service, stage.truth, off, self.token)
    }

    fn off(&self, dice: &mut Dice) -> i64 {
        dice.below(2 * self.skew + 1) as i64 - self.skew as i64
    }
}

/// What all environments of a run share.
struct Stage {
    truth: Truth,
    ledger: Arc<Ledger>,
    shared: Arc<Shared>,
    service: Arc<Service>,
    /// Environments without a request and since when, the one used last at the end.
    idle: Mutex<Vec<(u64, Arc<Environment>)>>,
}

impl Stage {
    fn idle_one(&self) -> Option<Arc<Environment>> {
        let now = self.truth.now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = idle.iter().take_while(|(since, _)| since + IDLE < now).count();
        idle.drain(..gone);
        idle.pop().map(|(_, environment)| environment)
    }

    fn rests(&self, environment: Arc<Environment>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((self.truth.now(), environment));
    }
}

/// One request and its environment.
struct Turn {
    call: Call,
    /// After how long its environment dies, answered or not.
    dies: Option<Duration>,
    lag: Duration,
    alone: bool,
}

impl Turn {
    async fn play(self, environment: Arc<Environment>, stage: Arc<Stage>) {
        let answering = environment.answer(self.call, &stage.ledger);
        let after: After = match self.dies {
            Some(dies) => match tokio::time::timeout(dies, answering).await {
                Ok(after) => after,
                Err(_) => return,
            },
            None => answering.await,
        };
        if !self.lag.is_zero() && !after.is_empty() {
            tokio::time::sleep(self.lag).await;
        }
        environment.finish(after).await;
        if self.alone {
            tokio::time::sleep(INVOCATION).await;
            stage.rests(environment);
        }
    }
}
