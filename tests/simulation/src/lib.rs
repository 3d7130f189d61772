//! Rate limits proved by simulation: many environments with clocks of their own, the real gateway in each, one table
//! that is slow, bounded and at times faulty, on simulated time.

mod arrivals;
mod cells;
mod check;
mod control;
mod dice;
mod environment;
mod grid;
mod random;
mod scene;
mod table;
mod world;

use cells::{Cell, Figures, cells};
use control::Control;
use grid::grid;

pub use check::{Bound, beyond, ideal};
pub use control::counts_from;

/// How many runs at random must keep the promise.
const RUNS: u64 = 1_000;

/// Within how many runs each control must be seen.
const WITHIN: u64 = 4_000;

/// Plays the rows of the table whose labels hold all of `words`, and where there are no words, runs at random with the
/// limiter whole and broken on purpose. Hands each line to `print`; answers what was missed.
pub fn prove(words: &[String], print: &mut dyn FnMut(&str)) -> Vec<String> {
    let mut missed = Vec::new();
    let mut played = table(words, print, &mut missed);
    if words.is_empty() {
        played = played.and_then(|()| controls(print, &mut missed));
    }
    missed.extend(played.err());
    missed
}

fn table(words: &[String], print: &mut dyn FnMut(&str), missed: &mut Vec<String>) -> Result<(), String> {
    print(
        "| model | limit | accuracy | load | weather | over | admitted/ideal | writes/request | waited | worst second |",
    );
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut played = Vec::new();
    for cell in cells().iter().filter(|cell| words.iter().all(|word| label(cell).contains(word))) {
        let figures = cell.play()?;
        print(&row(cell, &figures));
        judge(cell, &figures, missed);
        played.push((*cell, figures));
    }
    print("\nadmitted/ideal, writes/request");
    grid(&played).iter().for_each(|line| print(line));
    print("");
    Ok(())
}

fn label(cell: &Cell) -> String {
    let Cell { accuracy, model, rate, pattern, load, weather, seeds: _ } = cell;
    format!("| {model:?} | {rate}/s | {accuracy:?} | {load}x {pattern:?} | {weather:?} |")
}

fn row(cell: &Cell, figures: &Figures) -> String {
    let Figures { beyond, share, writes, blocked, worst_second } = figures;
    format!("{} {beyond:.1} | {share:.3} | {writes:.3} | {:.1} % | {worst_second} |", label(cell), blocked * 100.0)
}

fn judge(cell: &Cell, figures: &Figures, missed: &mut Vec<String>) {
    let wanted = cell.wanted();
    let mut miss = |what: String| missed.push(format!("{what}: {}", row(cell, figures)));
    if figures.beyond > 0.0 {
        miss(format!("{:.2} more admitted than the limit allows", figures.beyond));
    }
    if let Some(least) = wanted.share.filter(|least| figures.share < *least) {
        miss(format!("admitted/ideal at least {least}"));
    }
    if let Some(most) = wanted.writes.filter(|most| figures.writes > *most) {
        miss(format!("writes a request at most {most}"));
    }
    if let Some(most) = wanted.worst_second.filter(|most| figures.worst_second > *most) {
        miss(format!("writes to an item in a second at most {most}"));
    }
}

/// Runs at random keep the promise; broken on purpose, they do not.
fn controls(print: &mut dyn FnMut(&str), missed: &mut Vec<String>) -> Result<(), String> {
    let mut worst = f64::MIN;
    for seed in 0..RUNS {
        let over = random_run(seed, Control::Honest)?;
        worst = worst.max(over);
        if over > 0.0 {
            missed.push(format!("{over:.2} more admitted than the limit allows in the run at random {seed}"));
        }
    }
    print(&format!("{RUNS} runs at random: at the most {:.2} below the bound", -worst));
    for control in [Control::UnconditionalReturns, Control::LeasesDebitedAtOnce] {
        let mut seen = None;
        for seed in 0..WITHIN {
            let over = random_run(seed, control)?;
            if over > 0.0 {
                seen = Some((seed, over));
                break;
            }
        }
        match seen {
            Some((seed, over)) => print(&format!("{control:?}: seen in run {seed}, {over:.2} beyond the bound")),
            None => missed.push(format!("{control:?} goes unseen in {WITHIN} runs")),
        }
    }
    Ok(())
}

fn random_run(seed: u64, control: Control) -> Result<f64, String> {
    let (scene, bound) = random::scene(seed, control);
    let mut counted: Vec<u64> = scene.play()?.entries.iter().filter_map(|entry| entry.counts).collect();
    Ok(beyond(bound, 2 * scene.skew, &mut counted))
}
