//! Prints the table and exits 1 where a limit admitted too many or a wanted figure is missed, and where a limiter that
//! was broken on purpose goes unseen.
//!
//! Words as arguments pick the rows that hold all of them: `simulation Lambda 1000/s Fair`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let missed = simulation::prove(&words, &mut print);
    for line in &missed {
        print(&format!("missed: {line}"));
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "a table is what this program is for")]
fn print(line: &str) {
    println!("{line}");
}
